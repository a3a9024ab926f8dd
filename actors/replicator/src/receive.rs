//! Taking blobs that peers copy here and that clients of the network store.
//!
//! What is cheap to refuse is refused first: by who sends, by the signature, by what the store said of
//! itself, and only then by the bytes. A nonce is used up last of all, right before the bytes are
//! stored: what was refused before that can be sent again as it is. Only what the store itself sheds
//! then has to be signed again.

use std::time::{SystemTime, UNIX_EPOCH};

use bytecave_core::{BlobCid, VerifiedStore};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::Share;
use bytecave_messages::ports::{NewBlob, StorePort};
use bytecave_messages::store::{Foreign, Word};
use bytecave_messages::swarm::{
    Admission, InboundReplica, InboundStore, Kept, Refusal, ReplicaBody,
};
use bytes::Bytes;

use crate::facts::Facts;
use crate::policy::{self, Permission, StorePolicy};
use crate::refuse::refusal;
use crate::{media_type, verify};

/// Takes blobs in.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) store: StorePort,
    pub(crate) facts: Facts,
    pub(crate) admission: Admission,
    pub(crate) policy: StorePolicy,
    /// Milliseconds since 1970.
    pub(crate) now_ms: fn() -> u64,
}

/// Milliseconds since 1970, by the clock of the system.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Receiver {
    /// Answers a peer that sends a copy.
    pub(crate) async fn replica(self, replica: InboundReplica) {
        let InboundReplica {
            from,
            blob,
            body,
            answer,
            permit,
        } = replica;
        let cid = blob.cid;
        let admitted = self.admission.admits(&from).and_then(|()| self.room(&cid));
        let kept = match (admitted, body) {
            (Ok(()), ReplicaBody::Here(bytes)) => {
                self.put(bytes, Some(cid), blob.content_type, Word::Peer)
                    .await
            }
            (Ok(()), ReplicaBody::Offered(_)) => Err(Refusal::Busy),
            (Err(refused), _) => Err(refused),
        };
        match &kept {
            Ok(kept) => tracing::debug!(%from, ?cid, known = kept.already_stored, "replica kept"),
            Err(refused) => tracing::debug!(%from, ?cid, %refused, "replica refused"),
        }
        answer.send(kept);
        drop(permit);
    }

    /// Answers a client of the network that stores.
    pub(crate) async fn store(self, mut request: InboundStore) {
        let kept = self.try_store(&mut request).await;
        let from = &request.from;
        match &kept {
            Ok(Kept {
                cid,
                already_stored,
            }) => {
                tracing::info!(%from, ?cid, known = already_stored, "blob stored for a client of the network");
            }
            Err(refused) => tracing::debug!(%from, %refused, "store refused"),
        }
        request.answer.send(kept);
    }

    async fn try_store(&self, request: &mut InboundStore) -> Result<Kept, Refusal> {
        let authorization = request.authorization.as_ref();
        let permission = self
            .policy
            .decide(authorization, request.app_id.as_deref())?;
        if let Some(cid) = &request.cid {
            self.room(cid)?;
        }
        // Nothing is signed: that the bytes are those of the stated CID is for the store to see.
        let mut expected = request.cid;
        if let Permission::If(authorization) = permission {
            let verified = policy::verify(authorization, (self.now_ms)())?;
            let digest = verify::digest(&request.body).await;
            let cid = BlobCid::from_digest(digest);
            if expected.is_some_and(|stated| stated != cid) {
                let actual = digest.to_hex();
                return Err(Refusal::Mismatch { actual });
            }
            policy::covers(&verified, &digest)?;
            self.room(&cid)?;
            self.use_up(&verified).await?;
            expected = Some(cid);
        }
        let body = std::mem::take(&mut request.body);
        self.put(body, expected, request.content_type.take(), Word::Client)
            .await
    }

    /// Uses the nonce of an authorization up.
    async fn use_up(&self, verified: &VerifiedStore) -> Result<(), Refusal> {
        let (key, expires_ms) = (verified.nonce_key, verified.expires_ms);
        let unused = self.store.use_nonce(Share::Peer, key, expires_ms).await;
        match unused {
            Ok(true) => Ok(()),
            Ok(false) => Err(policy::nonce_used()),
            Err(error) => Err(refusal(error, 0)),
        }
    }

    /// What the store's own answer will be, where it is known beforehand.
    fn room(&self, cid: &BlobCid) -> Result<(), Refusal> {
        let Some(facts) = self.facts.get() else {
            return Ok(());
        };
        if let Some(shard) = facts.foreign_shard(cid) {
            return Err(Refusal::NotOurShard(shard));
        }
        if facts.full {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    async fn put(
        &self,
        body: Bytes,
        expected: Option<BlobCid>,
        content_type: Option<String>,
        word: Word,
    ) -> Result<Kept, Refusal> {
        let size = body.len() as u64;
        let blob = NewBlob {
            body: BlobBody::Whole(body),
            expected,
            content_type: media_type::believed(content_type),
            file_name: None,
            word,
            durable: true,
            foreign: Foreign::Refuse,
        };
        match self.store.put(Share::Peer, blob).await {
            Ok(stored) => Ok(Kept {
                cid: stored.cid,
                already_stored: !stored.new,
            }),
            Err(error) => Err(refusal(error, size)),
        }
    }
}

#[cfg(test)]
mod tests;
