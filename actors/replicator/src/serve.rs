//! Giving a peer or a relay a blob that is stored here. The network is never asked on their behalf.
//!
//! A peer that is to prove that it holds a blob is given nothing of it until it has answered. What was on its way
//! to it before stays so. Who asks through a relay is not known, and is given what it asks for: a browser
//! has no copies to prove.

use bytecave_core::BlobCid;
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::{Standing, StoreError};
use bytecave_messages::swarm::{InboundRetrieve, Origin, Refusal, ServedBlob};

use crate::audits::Audits;
use crate::refuse::refusal;

/// Answers who wants a blob.
pub(crate) async fn retrieve(store: StorePort, audits: Audits, wanted: InboundRetrieve) {
    let InboundRetrieve {
        from,
        cid,
        range,
        answer,
        permit,
    } = wanted;
    let withheld = || match &from {
        Origin::Peer(peer) => audits.withholds(peer, &cid.digest()),
        Origin::Link(_) => false,
    };
    let served = if withheld() {
        Err(Refusal::Busy)
    } else {
        match store.get(Share::Peer, cid, range).await {
            // A challenge may have been opened while the store was asked.
            Ok(_) if withheld() => Err(Refusal::Busy),
            Ok(read) => Ok(ServedBlob {
                size: read.info.size,
                blob_root: read.info.blob_root,
                offset: read.offset,
                len: read.len,
                content_type: read.info.content_type,
                body: read.body,
            }),
            Err(StoreError::NotFound { .. }) => Err(absence(&store, &cid).await),
            Err(error) => Err(refusal(error, 0)),
        }
    };
    if let Err(refused) = &served {
        tracing::debug!(%from, ?cid, %refused, "blob not served");
    }
    answer.send(served);
    drop(permit);
}

/// Why a blob is not here: a peer that counts copies need not ask again for what was deleted or blocked.
async fn absence(store: &StorePort, cid: &BlobCid) -> Refusal {
    let standing = store.check(Share::Peer, vec![cid.digest()]).await;
    match standing.as_deref() {
        Ok([Standing::Deleted]) => Refusal::Declined,
        Ok([Standing::Blocked]) => Refusal::Blocked,
        _ => Refusal::NotFound,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_messages::swarm::{Answer, Origin};

    use super::*;
    use crate::fakes::{FakeStore, peer, permit, read_all};

    async fn ask(store: &FakeStore, cid: BlobCid) -> Result<ServedBlob, Refusal> {
        let (answer, given) = Answer::new();
        let wanted = InboundRetrieve {
            from: Origin::Peer(peer(1)),
            cid,
            range: None,
            answer,
            permit: permit(),
        };
        retrieve(store.port(), Audits::new(Vec::new()), wanted).await;
        given.await.unwrap()
    }

    #[actix::test]
    async fn what_is_here_is_given_with_its_size_and_type() {
        let store = FakeStore::start();
        let cid = store.seed(b"content", Some("text/plain"));
        let served = ask(&store, cid).await.unwrap();
        assert_eq!(served.size, 7);
        assert_eq!(served.content_type.as_deref(), Some("text/plain"));
        assert_eq!(read_all(served.body).await, b"content");
    }

    #[actix::test]
    async fn what_is_not_here_or_damaged_is_refused() {
        let store = FakeStore::start();
        let cid = BlobCid::of(b"elsewhere");
        assert_eq!(ask(&store, cid).await.unwrap_err(), Refusal::NotFound);
        let damaged = store.seed(b"damaged", None);
        store.quarantine(&damaged);
        assert_eq!(ask(&store, damaged).await.unwrap_err(), Refusal::Damaged);
    }

    #[actix::test]
    async fn what_was_deleted_or_blocked_is_declined_in_the_published_words() {
        let store = FakeStore::start();
        let (deleted, blocked) = (store.seed(b"one", None), store.seed(b"other", None));
        store.deleted(&deleted);
        store.blocked(&blocked);
        let declined = ask(&store, deleted).await.unwrap_err();
        assert_eq!(declined, Refusal::Declined);
        let refused = ask(&store, blocked).await.unwrap_err();
        assert_eq!(refused, Refusal::Blocked);
        for refusal in [declined, refused] {
            let text = refusal.to_string();
            assert!(text.starts_with("Blob not found"), "{text}");
        }
        store.fail_with(StoreError::Unavailable);
        let stopping = Refusal::Unavailable("the node is stopping");
        assert_eq!(ask(&store, deleted).await.unwrap_err(), stopping);
    }
}
