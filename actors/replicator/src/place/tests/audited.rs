//! Peers that are asked for proof, and that failed to give it.

use bytecave_messages::proof::{AuditRecord, ChallengeOpened, Outcome};

use super::*;
use crate::audits::tests::record;

#[actix::test]
async fn a_copy_waits_until_its_taker_has_shown_what_it_has() {
    tokio::time::pause();
    let node = Node::among(1..=3);
    let blob = node.blob(true);
    let (holders, _) = node.targets(&blob);
    let opened = ChallengeOpened {
        peer: holders[0],
        cid: blob.cid,
        until: (Instant::now() + Duration::from_secs(1)).into_std(),
    };
    node.placer.holders().audits().opened(&opened);
    let placed = tokio::spawn({
        let (placer, blob) = (node.placer.clone(), blob.clone());
        async move {
            let order = PlaceBlob {
                blob,
                bytes: BytesAt::Store,
                wanted: 3,
                patience: PATIENCE,
                permit: permit(),
            };
            placer.place(order).await
        }
    });
    sleep(Duration::from_millis(900)).await;
    assert!(!node.has(&holders[0]) && node.has(&holders[1]));
    assert_eq!(placed.await.unwrap().unwrap().confirmed, 3);
    assert!(node.has(&holders[0]));
}

#[actix::test]
async fn a_copy_on_a_holder_that_failed_an_audit_is_not_promised() {
    tokio::time::pause();
    let node = Node::among(1..=3);
    let blob = node.blob(true);
    let (holders, next) = node.targets(&blob);
    let failed = AuditRecord {
        peer_id: holders[0],
        ..record(1, blob.cid, Outcome::Failed, 1)
    };
    let known = node.placer.holders();
    known.audits().finished(&Arc::new(failed), true, 1);
    known.refresh();
    let placed = node.place(&blob, 3).await.unwrap();
    assert_eq!((placed.confirmed, placed.target), (3, 3));
    // It is offered what is new, and another one has it in its stead.
    assert!(node.has(&holders[0]) && node.has(&holders[1]) && node.has(&next[0]));
}
