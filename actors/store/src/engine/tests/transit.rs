//! Blobs of others' shards on their way.

use bytecave_core::ShardRange;
use bytecave_messages::body::BodyError;
use bytecave_messages::store::{Durability, InTransit, TransitHold};

use super::*;
use crate::engine::layout::TRANSIT_FAMILY;
use crate::engine::verify::{Mode, verify};

const MIB: usize = 1 << 20;

/// An engine that keeps the lower half of the shards.
fn half() -> Cave {
    Cave::with(keep_half)
}

fn keep_half(options: &mut EngineOptions) {
    let range = [ShardRange { start: 0, end: 7 }];
    options.shards = ShardSet::from_ranges(ShardCount::new(SHARDS).unwrap(), &range).unwrap();
}

fn foreign(content: &[u8]) -> NewBlob {
    NewBlob {
        foreign: Foreign::Transit,
        ..whole(content)
    }
}

/// Content of a shard that the half does not keep (`ours` false), or keeps.
fn content_of(size: usize, ours: bool) -> Vec<u8> {
    let count = ShardCount::new(SHARDS).unwrap();
    (0..1000)
        .map(|seed| content(size, seed))
        .find(|blob| (count.shard_of(&BlobCid::of(blob).digest()).get() < 8) == ours)
        .unwrap()
}

async fn pass(cave: &Cave, content: &[u8]) -> TransitHold {
    let stored = cave.engine().put(foreign(content)).await.unwrap();
    match stored.transit {
        Some(InTransit::Disk(hold)) => hold,
        other => panic!("it is in transit on disk: {other:?}"),
    }
}

async fn read(cave: &Cave, hold: &TransitHold) -> Result<Vec<u8>, StoreError> {
    let read = cave.engine().read_transit(hold.clone(), None, ()).await?;
    collect(read.body).await
}

fn files(cave: &Cave) -> usize {
    let files = cave.engine().inner.db.live_files().unwrap();
    files
        .iter()
        .filter(|file| file.column_family_name == TRANSIT_FAMILY)
        .count()
}

async fn until_gone(cave: &Cave) {
    cave.until(|snapshot| gauge(snapshot, "transit_blobs") == 0)
        .await;
    let snapshot = cave.snapshot();
    assert_eq!(gauge(&snapshot, "transit_bytes"), 0);
    assert_eq!(snapshot.reserved_bytes, 0);
    assert_eq!(files(cave), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_one_stays_in_memory_and_nothing_is_written() {
    let cave = half();
    let blob = content_of(4 * MIB, false);
    let cid = BlobCid::of(&blob);
    let before = cave.engine().inner.db.latest_sequence_number();
    for expected in [None, Some(cid)] {
        let new = NewBlob {
            expected,
            durable: true,
            body: streamed(&blob, 1 << 16, false),
            ..foreign(b"")
        };
        let stored = cave.engine().put(new).await.unwrap();
        assert_eq!((stored.cid, stored.new), (cid, true));
        assert_eq!(stored.size, 4 * MIB as u64);
        assert_eq!(stored.blob_root, bytecave_core::tree::blob_root(&blob));
        assert_eq!(stored.durability, Durability::Relaxed, "nothing is on disk");
        assert!(
            matches!(&stored.transit, Some(InTransit::Memory(bytes)) if *bytes == blob),
            "{:?}",
            stored.transit
        );
    }
    assert_eq!(cave.engine().inner.db.latest_sequence_number(), before);
    let snapshot = cave.snapshot();
    assert_eq!((snapshot.blobs, snapshot.reserved_bytes), (0, 0));
    let gone = StoreError::NotFound { cid };
    assert_eq!(cave.read(cid, None).await, Err(gone));
    // Content that is another than stated is refused here too.
    let lie = NewBlob {
        expected: Some(cid),
        ..foreign(b"something else")
    };
    let refused = cave.engine().put(lie).await.unwrap_err();
    assert!(matches!(refused, StoreError::Mismatch { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_our_shards_is_kept_as_ever() {
    let cave = half();
    for size in [1000, 5 * MIB] {
        let blob = content_of(size, true);
        let stored = cave.engine().put(foreign(&blob)).await.unwrap();
        assert!(stored.new && stored.transit.is_none());
        assert!(cave.read(stored.cid, None).await.unwrap() == blob);
        let strange = content_of(size, false);
        let refused = cave.engine().put(whole(&strange)).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotOurShard { .. }));
    }
    assert_eq!(cave.snapshot().blobs, 2);
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_one_is_read_until_the_last_hold_is_dropped() {
    let cave = half();
    let blob = content_of(9 * MIB + 3, false);
    let hold = pass(&cave, &blob).await;
    let sealed = cave.snapshot().reserved_bytes;
    assert!(sealed > blob.len() as u64 && sealed < blob.len() as u64 + MIB as u64);
    let snapshot = cave.snapshot();
    assert_eq!((snapshot.blobs, snapshot.bytes), (0, 0));
    assert_eq!((snapshot.sealed_bytes, snapshot.dead_bytes), (0, 0));
    assert_eq!(gauge(&snapshot, "transit_blobs"), 1);
    assert_eq!(gauge(&snapshot, "transit_bytes"), sealed);
    assert_eq!(files(&cave), 1);
    assert!(read(&cave, &hold).await.unwrap() == blob);
    let size = blob.len() as u64;
    for (range, wanted) in [
        (ByteRange::FromTo(5, 9), 5..10),
        (ByteRange::Last(7), blob.len() - 7..blob.len()),
        (ByteRange::From(8 << 20), 8 * MIB..blob.len()),
        (ByteRange::FromTo(262_143, 262_144), 262_143..262_145),
    ] {
        let part = cave
            .engine()
            .read_transit(hold.clone(), Some(range), ())
            .await
            .unwrap();
        assert_eq!(part.info.cid, BlobCid::of(&blob));
        assert_eq!((part.offset, part.info.size), (wanted.start as u64, size));
        assert!(collect(part.body).await.unwrap() == blob[wanted]);
    }
    let outside = cave
        .engine()
        .read_transit(hold.clone(), Some(ByteRange::From(size)), ())
        .await
        .unwrap_err();
    assert_eq!(outside, StoreError::RangeNotSatisfiable { size });
    let clone = hold.clone();
    drop(hold);
    assert!(read(&cave, &clone).await.unwrap() == blob);
    drop(clone);
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_keeps_it_there_until_its_last_byte() {
    let cave = half();
    let blob = content_of(20 * MIB, false);
    let hold = pass(&cave, &blob).await;
    let read = cave.engine().read_transit(hold, None, ()).await.unwrap();
    // The hold went with the read, which has sent no more than its first pieces by now.
    assert_eq!(gauge(&cave.snapshot(), "transit_blobs"), 1);
    assert!(collect(read.body).await.unwrap() == blob);
    until_gone(&cave).await;
    // A reader that goes away lets go of it too.
    let hold = pass(&cave, &blob).await;
    drop(cave.engine().read_transit(hold, None, ()).await.unwrap());
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_of_the_same_content_know_nothing_of_one_another() {
    let cave = half();
    let blob = content_of(5 * MIB, false);
    let puts: Vec<_> = (0..4)
        .map(|_| {
            let engine = cave.engine().clone();
            let new = NewBlob {
                body: streamed(&blob, 1 << 18, true),
                ..foreign(b"")
            };
            tokio::spawn(async move { engine.put(new).await.unwrap() })
        })
        .collect();
    let mut holds = Vec::new();
    for put in puts {
        let stored = put.await.unwrap();
        assert!(stored.new);
        holds.push(stored.transit.unwrap());
    }
    assert_eq!(gauge(&cave.snapshot(), "transit_blobs"), 4);
    assert_eq!(files(&cave), 4);
    while let Some(InTransit::Disk(hold)) = holds.pop() {
        assert!(read(&cave, &hold).await.unwrap() == blob);
        drop(hold);
        let left = holds.len() as u64;
        cave.until(|snapshot| gauge(snapshot, "transit_blobs") == left)
            .await;
    }
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_or_is_given_up_leaves_nothing() {
    let cave = half();
    let blob = content_of(9 * MIB, false);
    for given_up in [false, true] {
        let (mut sender, stream) = body::stream(None);
        let new = NewBlob {
            body: BlobBody::Stream(stream),
            ..foreign(b"")
        };
        let engine = cave.engine().clone();
        let put = tokio::spawn(async move { engine.put(new).await });
        for piece in blob.chunks(1 << 18).take(30) {
            sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        if given_up {
            put.abort();
            assert!(put.await.unwrap_err().is_cancelled());
        } else {
            drop(sender);
            let error = put.await.unwrap().unwrap_err();
            assert!(matches!(error, StoreError::Body(BodyError::Stopped { .. })));
        }
        cave.until(|snapshot| snapshot.reserved_bytes == 0).await;
    }
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_transit_takes_of_the_quota() {
    let cave = Cave::with(|options| {
        keep_half(options);
        options.quota_bytes = 12 * MIB as u64;
    });
    let hold = pass(&cave, &content_of(7 * MIB, false)).await;
    let more = content_of(6 * MIB, false);
    let refused = cave.engine().put(foreign(&more)).await.unwrap_err();
    assert!(matches!(refused, StoreError::QuotaReached { .. }));
    let refused = cave.put(&content_of(6 * MIB, true)).await.unwrap_err();
    assert!(matches!(refused, StoreError::QuotaReached { .. }));
    drop(hold);
    until_gone(&cave).await;
    drop(pass(&cave, &more).await);
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_at_an_end_is_gone_at_the_next_start() {
    let mut cave = half();
    let kept = content_of(5 * MIB, true);
    cave.put(&kept).await.unwrap();
    let blob = content_of(6 * MIB, false);
    let hold = pass(&cave, &blob).await;
    let other = pass(&cave, &blob).await;
    cave.close();
    // Where no engine is any more, there is nothing to do.
    drop(other);
    let report = verify(&cave.options, Mode::Check, &mut |_| ()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.unfinished.transit, 2);
    cave.reopen();
    until_gone(&cave).await;
    let refused = read(&cave, &hold).await.unwrap_err();
    assert!(matches!(refused, StoreError::Failed { .. }), "{refused}");
    drop(hold);
    assert!(cave.read(BlobCid::of(&kept), None).await.unwrap() == kept);
    let again = pass(&cave, &blob).await;
    assert!(read(&cave, &again).await.unwrap() == blob);
    drop(again);
    until_gone(&cave).await;
    cave.close();
    let report = verify(&cave.options, Mode::Repair, &mut |_| ()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.unfinished.transit, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_whose_files_do_not_go_is_made_anew() {
    let mut cave = half();
    let stray = |cave: &Cave| {
        let db = &cave.engine().inner.db;
        let handle = db.cf_handle(TRANSIT_FAMILY).unwrap();
        db.get_cf(&handle, b"c-stray").unwrap()
    };
    let db = &cave.engine().inner.db;
    // In a memtable, where no file can be removed.
    let handle = db.cf_handle(TRANSIT_FAMILY).unwrap();
    db.put_cf(&handle, b"c-stray", b"x").unwrap();
    drop(handle);
    assert!(stray(&cave).is_some());
    cave.reopen();
    assert_eq!(stray(&cave), None);
    let blob = content_of(5 * MIB, false);
    let hold = pass(&cave, &blob).await;
    assert!(read(&cave, &hold).await.unwrap() == blob);
    cave.reopen();
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_the_way_is_found_and_quarantines_nothing() {
    let cave = half();
    let blob = content_of(9 * MIB, false);
    let hold = pass(&cave, &blob).await;
    let inner = &cave.engine().inner;
    let handle = inner.db.cf_handle(TRANSIT_FAMILY).unwrap();
    let rows = inner
        .rows(TRANSIT_FAMILY, vec![b'c'], vec![b'd'])
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let damage = |row: usize| {
        let (key, mut value) = rows[row].clone();
        value[100] ^= 1;
        inner.db.put_cf(&handle, key, value).unwrap();
    };
    damage(30);
    let error = read(&cave, &hold).await.unwrap_err();
    assert_eq!(error, StoreError::Body(BodyError::Damaged));
    damage(0);
    let cid = BlobCid::of(&blob);
    assert_eq!(
        read(&cave, &hold).await.unwrap_err(),
        StoreError::Damaged { cid }
    );
    assert_eq!(cave.snapshot().quarantined, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_does_not_pass_either() {
    let cave = half();
    for size in [1000, 5 * MIB] {
        let blob = content_of(size, false);
        let cid = BlobCid::of(&blob);
        let before = cave.engine().put(foreign(&blob)).await.unwrap();
        assert!(cave.engine().set_blocked(cid, true).await.unwrap());
        let blocked = StoreError::Blocked { cid };
        let refused = cave.engine().put(foreign(&blob)).await.unwrap_err();
        assert_eq!(refused, blocked);
        let stated = NewBlob {
            body: BlobBody::Stream(body::stream(None).1),
            expected: Some(cid),
            ..foreign(b"")
        };
        assert_eq!(cave.engine().put(stated).await.unwrap_err(), blocked);
        if let Some(InTransit::Disk(hold)) = before.transit {
            assert_eq!(read(&cave, &hold).await.unwrap_err(), blocked);
        }
    }
    until_gone(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_here_passes_through_and_stays_deleted() {
    let cave = half();
    for size in [3000, 6 * MIB] {
        let blob = content_of(size, true);
        let cid = cave.put(&blob).await.unwrap().cid;
        cave.engine().delete(cid).await.unwrap();
        let brought = |foreign| NewBlob {
            word: Word::Peer,
            expected: Some(cid),
            foreign,
            ..whole(&blob)
        };
        let refused = cave.engine().put(brought(Foreign::Refuse)).await;
        assert!(matches!(refused, Err(StoreError::Deleted { .. })));
        let passed = cave.engine().put(brought(Foreign::Transit)).await.unwrap();
        match passed.transit {
            Some(InTransit::Memory(bytes)) => assert_eq!(bytes, blob),
            Some(InTransit::Disk(hold)) => assert_eq!(read(&cave, &hold).await.unwrap(), blob),
            None => panic!("it is back"),
        }
        let found = cave.engine().info(cid).await;
        assert!(matches!(found, Err(StoreError::NotFound { .. })));
        assert_eq!(cave.snapshot().blobs, 0);
    }
}
