//! On whose word a blob comes, and how certain its answer is.

use bytecave_messages::store::Durability;

use super::damage::{flip, meta};
use super::*;
use crate::engine::commit::Op;
use crate::engine::commit::blobs::{Quarantine, chunk_run};
use crate::engine::commit::large::{Begin, Begun, Finish};
use crate::engine::layout::{chunk_key, name_key, prefix};
use crate::engine::put;
use crate::engine::record::{BlobMeta, Layout};
use crate::engine::seal::BlobId;
use crate::engine::verify::{Mode, verify};

const MIB: usize = 1 << 20;
const SIZES: [usize; 2] = [3000, 5 * MIB];

fn peers(content: &[u8]) -> NewBlob {
    NewBlob {
        word: Word::Peer,
        ..whole(content)
    }
}

fn durable(content: &[u8]) -> NewBlob {
    NewBlob {
        durable: true,
        ..whole(content)
    }
}

async fn outbox(cave: &Cave, stored: &Stored) -> usize {
    let entries = cave.engine().read_outbox(stored.shard, 100).await;
    entries.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_brings_is_kept_and_goes_to_no_outbox() {
    let cave = Cave::new();
    for size in SIZES {
        let brought = content(size, 1);
        let stored = cave.engine().put(peers(&brought)).await.unwrap();
        assert!(stored.new && stored.transit.is_none());
        assert!(cave.read(stored.cid, None).await.unwrap() == brought);
        assert_eq!(outbox(&cave, &stored).await, 0, "{size}");
        // A client who comes later finds it here.
        assert!(!cave.put(&brought).await.unwrap().new);
        assert_eq!(outbox(&cave, &stored).await, 0, "{size}");
        let own = content(size, 2);
        let stored = cave.put(&own).await.unwrap();
        assert_eq!(outbox(&cave, &stored).await, 1, "{size}");
        cave.engine()
            .advance_outbox(vec![(stored.shard, u64::MAX)])
            .await
            .unwrap();
    }
    assert_eq!(cave.snapshot().blobs, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_comes_back_by_a_client_and_by_no_peer() {
    let mut cave = Cave::new();
    for size in SIZES {
        let blob = content(size, 1);
        let cid = cave.put(&blob).await.unwrap().cid;
        cave.engine().delete(cid).await.unwrap();
        let deleted = StoreError::Deleted { cid };
        for restarted in [false, true] {
            let refused = cave.engine().put(peers(&blob)).await.unwrap_err();
            assert_eq!(refused, deleted, "{size}, restarted {restarted}");
            let stated = NewBlob {
                // Refused before the body is read: this one never ends.
                body: BlobBody::Stream(body::stream(None).1),
                expected: Some(cid),
                ..peers(&blob)
            };
            assert_eq!(cave.engine().put(stated).await.unwrap_err(), deleted);
            cave.reopen();
        }
        assert_eq!(cave.snapshot().reserved_bytes, 0);
        assert!(cave.put(&blob).await.unwrap().new);
        assert!(!cave.engine().put(peers(&blob)).await.unwrap().new);
        assert!(cave.read(cid, None).await.unwrap() == blob);
        cave.engine().delete(cid).await.unwrap();
    }
    assert_eq!(cave.snapshot().blobs, 0);
    cave.until(|snapshot| gauge(snapshot, "files_to_free") == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_bytes_are_under_way_when_the_blob_is_deleted_is_refused() {
    let cave = Cave::new();
    for size in SIZES {
        let blob = content(size, 7);
        let cid = BlobCid::of(&blob);
        let (mut sender, stream) = body::stream(Some(size as u64));
        let put = {
            let engine = cave.engine().clone();
            let blob = NewBlob {
                body: BlobBody::Stream(stream),
                expected: Some(cid),
                ..peers(b"")
            };
            tokio::spawn(async move { engine.put(blob).await })
        };
        let (head, tail) = blob.split_at(size / 2);
        sender.send(Bytes::copy_from_slice(head)).await.unwrap();
        cave.put(&blob).await.unwrap();
        cave.engine().delete(cid).await.unwrap();
        sender.send(Bytes::copy_from_slice(tail)).await.unwrap();
        sender.finish();
        let refused = put.await.unwrap().unwrap_err();
        assert_eq!(refused, StoreError::Deleted { cid });
    }
    assert_eq!(cave.snapshot().blobs, 0);
    assert_eq!(cave.snapshot().reserved_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_healed_by_clients_and_by_peers() {
    let cave = Cave::new();
    for (seed, word) in [(1, Word::Client), (2, Word::Peer)] {
        for size in SIZES {
            let blob = content(size, seed);
            let cid = cave.put(&blob).await.unwrap().cid;
            let (shard, name, meta) = meta(&cave, cid);
            match meta.layout {
                Layout::Small => flip(&cave, shard, &name_key(prefix::DATA, &name)),
                Layout::Large => flip(&cave, shard, &chunk_key(meta.blob_id, 0)),
            }
            assert!(cave.read(cid, None).await.is_err());
            cave.until(|snapshot| snapshot.quarantined == 1).await;
            let again = NewBlob {
                word,
                ..whole(&blob)
            };
            assert!(!cave.engine().put(again).await.unwrap().new);
            assert!(cave.read(cid, None).await.unwrap() == blob, "{word:?}");
            assert_eq!(cave.snapshot().quarantined, 0);
        }
    }
    assert_eq!(cave.snapshot().blobs, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_thread_decides_what_was_deleted_or_blocked_a_moment_ago() {
    let cave = Cave::new();
    let inner = &cave.engine().inner;
    let submit = |blob: &[u8]| {
        let details = put::Details {
            word: Word::Peer,
            ..put::Details::default()
        };
        let prepared = put::prepare(inner, &Bytes::copy_from_slice(blob), details);
        let Ok(put::Prepared::Ready(ready)) = prepared else {
            panic!("it is not here yet");
        };
        move || {
            inner
                .queue
                .submit(|reply| Op::Put(Box::new(ready.with_reply(None, reply))))
        }
    };
    for block in [false, true] {
        let blob = content(3000, u64::from(block));
        let cid = BlobCid::of(&blob);
        let submit = submit(&blob);
        let refusal = if block {
            cave.engine().set_blocked(cid, true).await.unwrap();
            StoreError::Blocked { cid }
        } else {
            cave.put(&blob).await.unwrap();
            cave.engine().delete(cid).await.unwrap();
            StoreError::Deleted { cid }
        };
        assert_eq!(submit().await.unwrap().unwrap_err(), refusal);
    }
    let snapshot = cave.snapshot();
    assert_eq!((snapshot.blobs, snapshot.reserved_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_is_not_finished_when_it_was_deleted_or_blocked_since_it_began() {
    let mut cave = Cave::new();
    for block in [false, true] {
        let cid = cave
            .put(&content(5 * MIB, u64::from(block)))
            .await
            .unwrap()
            .cid;
        let (shard, name, meta) = meta(&cave, cid);
        let inner = &cave.engine().inner;
        // Damaged, so that it is taken once more.
        let quarantined = inner.queue.submit(|reply| {
            Op::Quarantine(Quarantine {
                name,
                digest: meta.digest,
                shard,
                blob_id: meta.blob_id,
                reply,
            })
        });
        quarantined.await.unwrap().unwrap();
        let again = BlobMeta {
            blob_id: BlobId::random().unwrap(),
            ..meta
        };
        let run = chunk_run(&inner.place(shard).unwrap().family.name, &again).unwrap();
        let begun = inner.queue.submit(|reply| {
            Op::Begin(Box::new(Begin {
                name,
                shard,
                meta: again.clone(),
                run,
                word: Word::Peer,
                reply,
            }))
        });
        let Begun::Go(intent) = begun.await.unwrap().unwrap() else {
            panic!("a damaged blob is healed");
        };
        let refusal = if block {
            cave.engine().set_blocked(cid, true).await.unwrap();
            StoreError::Blocked { cid }
        } else {
            cave.engine().delete(cid).await.unwrap();
            StoreError::Deleted { cid }
        };
        let space = inner.reserve(again.sealed_size).unwrap();
        let finished = inner.queue.submit(|reply| {
            Op::Finish(Box::new(Finish {
                meta: again,
                intent,
                space,
                reply,
            }))
        });
        assert_eq!(finished.await.unwrap().unwrap_err(), refusal);
    }
    let snapshot = cave
        .until(|snapshot| snapshot.dead_bytes == 0 && gauge(snapshot, "files_to_free") == 0)
        .await;
    assert_eq!((snapshot.blobs, snapshot.reserved_bytes), (0, 0));
    cave.close();
    let report = verify(&cave.options, Mode::Check, &mut |_| ()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.unfinished.intents, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_means_synced_whatever_the_durability_is() {
    let syncs = |cave: &Cave| gauge(&cave.snapshot(), "commit_syncs_total");
    let cave = Cave::with(|options| options.durability = Durability::Relaxed);
    let blob = content(3000, 1);
    let relaxed = cave.put(&blob).await.unwrap();
    assert_eq!(relaxed.durability, Durability::Relaxed);
    assert_eq!(syncs(&cave), 0);
    // It is here, and was not synced.
    let again = cave.engine().put(durable(&blob)).await.unwrap();
    assert_eq!((again.new, again.durability), (false, Durability::Strict));
    assert_eq!(syncs(&cave), 1);
    let new = cave.engine().put(durable(&content(3000, 2))).await.unwrap();
    assert_eq!((new.new, new.durability), (true, Durability::Strict));
    assert_eq!(syncs(&cave), 2);
    let again = cave.put(&blob).await.unwrap();
    assert_eq!((again.new, again.durability), (false, Durability::Relaxed));
    assert_eq!(syncs(&cave), 2);
    // A refusal is not worth a sync.
    cave.engine().delete(relaxed.cid).await.unwrap();
    let refused = NewBlob {
        durable: true,
        ..peers(&blob)
    };
    assert!(cave.engine().put(refused).await.is_err());
    assert_eq!(syncs(&cave), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_synced_a_durable_duplicate_costs_nothing() {
    let cave = Cave::new();
    let blob = content(3000, 1);
    cave.put(&blob).await.unwrap();
    let before = gauge(&cave.snapshot(), "commit_operations_total");
    let again = cave.engine().put(durable(&blob)).await.unwrap();
    assert_eq!((again.new, again.durability), (false, Durability::Strict));
    assert_eq!(gauge(&cave.snapshot(), "commit_operations_total"), before);
}
