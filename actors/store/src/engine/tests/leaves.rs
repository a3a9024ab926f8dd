//! Leaves for proofs: what core's verifier accepts, or an error and a quarantine; never anything else.

use std::collections::HashSet;

use bytecave_core::NodeIdentity;
use bytecave_core::proof::{
    Anchor, Challenge, ChallengeCount, Nonce, Proof, Question, Statement, Verdict, verify,
};
use bytecave_core::tree::{self, LEAF_BYTES};

use super::damage::{Harm, harm, meta};
use super::*;
use crate::engine::layout::{chunk_key, name_key, prefix};
use crate::engine::record::{self, BlobMeta};
use crate::engine::seal::{BlobCipher, SEGMENT_BYTES, page_chunk};

const MIB: usize = 1 << 20;

fn challenge(cid: BlobCid, nonce: u64, count: u64) -> Challenge {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    Challenge {
        cid,
        nonce: Nonce::new(bytes),
        count: ChallengeCount::new(count).unwrap(),
    }
}

/// A challenge that asks for a leaf of this chunk.
fn challenge_of_chunk(cid: BlobCid, size: usize, chunk: u64) -> Challenge {
    let leaves = (SEGMENT_BYTES / LEAF_BYTES) as u64;
    (0..10_000)
        .map(|nonce| challenge(cid, nonce, 4))
        .find(|challenge| {
            let indexes = challenge.leaf_indexes(size as u64);
            indexes.iter().any(|index| index / leaves == chunk)
        })
        .unwrap()
}

fn verdict(challenge: &Challenge, content: &[u8], statement: Statement) -> Verdict {
    let identity = NodeIdentity::from_seed([3; 32]).unwrap();
    let proof = Proof::sign(&identity, "cave", 0, statement).unwrap();
    let anchor = Anchor::Root {
        blob_root: tree::blob_root(content),
        size: content.len() as u64,
    };
    verify(&proof, &Question::of(challenge, anchor))
}

async fn expect_proof(cave: &Cave, content: &[u8], nonce: u64) {
    let challenge = challenge(BlobCid::of(content), nonce, 1 + nonce % 32);
    let statement = cave.engine().leaves(challenge).await.unwrap();
    assert_eq!(
        verdict(&challenge, content, statement),
        Verdict::Valid,
        "{} bytes",
        content.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_of_blobs_of_any_size_prove_them() {
    let mut cave = Cave::new();
    let sizes = [
        0,
        1,
        1023,
        1024,
        1025,
        40_000,
        SEGMENT_BYTES + 1,
        4 * MIB,
        4 * MIB + 1,
        5 * MIB,
        9 * MIB + 12_345,
    ];
    let blobs: Vec<_> = sizes.iter().map(|size| content(*size, 7)).collect();
    for blob in &blobs {
        cave.put(blob).await.unwrap();
    }
    for round in 0..2 {
        for blob in &blobs {
            // Read before or not, the answer is the same.
            for nonce in [0, 1, 31] {
                expect_proof(&cave, blob, nonce).await;
            }
            if round == 0 {
                cave.read(BlobCid::of(blob), None).await.unwrap();
                expect_proof(&cave, blob, 2).await;
            }
        }
        cave.reopen();
    }
    assert_eq!(gauge(&cave.snapshot(), "damaged_reads_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_leaves_of_several_pages_are_read_once_each_however_often_they_are_asked_for() {
    let cave = Cave::new();
    let blob = content(131 * MIB + 7, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let (_, _, meta) = meta(&cave, cid);
    assert_eq!(meta.page_roots.len(), 3);
    for nonce in 0..4 {
        let challenge = challenge(cid, nonce, 32);
        let mut numbers = Vec::new();
        let inner = &cave.engine().inner;
        let family = inner.place(inner.shard_of(&cid.digest())).unwrap().handle;
        let statement = crate::engine::read::leaves_of_large(&meta, &challenge, &mut |number| {
            numbers.push(number);
            let key = chunk_key(meta.blob_id, number);
            Ok(inner.db.get_cf(&family, key).unwrap().unwrap())
        });
        let once: HashSet<u32> = numbers.iter().copied().collect();
        assert_eq!(once.len(), numbers.len(), "{numbers:?}");
        assert!(numbers.len() <= 32 + 3);
        assert_eq!(
            verdict(&challenge, &blob, statement.unwrap()),
            Verdict::Valid
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_small_blob_gives_no_statement() {
    for how in [Harm::Flip, Harm::Truncate, Harm::Remove] {
        // One is in the cache of sealed bytes until a start empties it, the other never.
        for size in [0, 2000, 600_000] {
            let mut cave = Cave::new();
            let blob = content(size, 1);
            let cid = cave.put(&blob).await.unwrap().cid;
            let (shard, name, _) = meta(&cave, cid);
            harm(&cave, shard, &name_key(prefix::DATA, &name), how);
            cave.reopen();
            let asked = challenge(cid, 1, 1);
            let damaged = Err(StoreError::Damaged { cid });
            assert_eq!(
                cave.engine().leaves(asked).await,
                damaged,
                "{how:?} of {size}"
            );
            cave.until(|snapshot| snapshot.quarantined == 1).await;
            assert_eq!(cave.engine().leaves(asked).await, damaged);
            assert_eq!(cave.engine().list_damaged(10).await, Ok(vec![cid]));
            cave.put(&blob).await.unwrap();
            expect_proof(&cave, &blob, 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_what_a_leaf_of_a_large_blob_needs_gives_no_statement() {
    let size = 9 * MIB;
    let blob = content(size, 1);
    let cid = BlobCid::of(&blob);
    let asked = challenge_of_chunk(cid, size, 20);
    for how in [Harm::Flip, Harm::Truncate, Harm::Remove] {
        for of_page in [false, true] {
            let cave = Cave::new();
            cave.put(&blob).await.unwrap();
            let (shard, _, meta) = meta(&cave, cid);
            let number = if of_page {
                page_chunk(meta.size, 0).unwrap()
            } else {
                20
            };
            harm(&cave, shard, &chunk_key(meta.blob_id, number), how);
            let answer = cave.engine().leaves(asked).await;
            assert_eq!(answer, Err(StoreError::Damaged { cid }), "{how:?} {number}");
            cave.until(|snapshot| snapshot.quarantined == 1).await;
            // Stored again it is whole.
            cave.put(&blob).await.unwrap();
            expect_proof(&cave, &blob, 1).await;
        }
    }
}

/// Writes metadata that no engine would.
fn forge(cave: &Cave, cid: BlobCid, change: impl FnOnce(&mut BlobMeta)) {
    let (shard, name, mut meta) = meta(cave, cid);
    change(&mut meta);
    let inner = &cave.engine().inner;
    let place = inner.place(shard).unwrap();
    let key = name_key(prefix::META, &name);
    let sealed = record::seal(&inner.keyring(), &place.family.name, &key, &meta).unwrap();
    inner.db.put_cf(&place.handle, key, sealed).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_open_and_are_not_the_blobs_give_no_statement() {
    let small = content(3000, 1);
    let large = content(5 * MIB, 1);
    let mut cave = Cave::new();
    for blob in [&small, &large] {
        cave.put(blob).await.unwrap();
    }
    let cid = BlobCid::of(&small);
    let (shard, name, of_small) = meta(&cave, cid);
    let inner = &cave.engine().inner;
    // Other content under the very key of the blob.
    let cipher = BlobCipher::new(&of_small.data_key, of_small.blob_id).unwrap();
    let sealed = cipher.seal_whole(&content(3000, 2)).unwrap();
    let place = inner.place(shard).unwrap();
    let key = name_key(prefix::DATA, &name);
    inner.db.put_cf(&place.handle, key, sealed).unwrap();
    drop(place);
    // A root of a page that is not the page's.
    forge(&cave, BlobCid::of(&large), |meta| {
        meta.page_roots[0][0] ^= 1;
    });
    cave.reopen();
    for blob in [&small, &large] {
        let cid = BlobCid::of(blob);
        let answer = cave.engine().leaves(challenge(cid, 1, 4)).await;
        assert_eq!(answer, Err(StoreError::Damaged { cid }));
    }
    cave.until(|snapshot| snapshot.quarantined == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_here_is_refused_with_the_reason() {
    let cave = Cave::new();
    let blobs: Vec<_> = (0..3).map(|seed| content(3000, seed)).collect();
    let [absent, deleted, blocked] = [0, 1, 2].map(|at: usize| BlobCid::of(&blobs[at]));
    for blob in &blobs[1..] {
        cave.put(blob).await.unwrap();
    }
    cave.engine().delete(deleted).await.unwrap();
    cave.engine().set_blocked(blocked, true).await.unwrap();
    for (cid, error) in [
        (absent, StoreError::NotFound { cid: absent }),
        (deleted, StoreError::Deleted { cid: deleted }),
        (blocked, StoreError::Blocked { cid: blocked }),
    ] {
        assert_eq!(cave.engine().leaves(challenge(cid, 1, 4)).await, Err(error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_deleted_or_replaced_under_a_challenge_is_not_damaged() {
    let cave = Cave::new();
    let blob = content(5 * MIB, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let busy = {
        let engine = cave.engine().clone();
        let blob = blob.clone();
        tokio::spawn(async move {
            for _ in 0..15 {
                engine.delete(cid).await.unwrap();
                engine.put(whole(&blob)).await.unwrap();
            }
        })
    };
    let mut nonce = 0;
    while !busy.is_finished() {
        nonce += 1;
        let asked = challenge(cid, nonce, 8);
        match cave.engine().leaves(asked).await {
            Ok(statement) => assert_eq!(verdict(&asked, &blob, statement), Verdict::Valid),
            Err(
                StoreError::NotFound { .. }
                | StoreError::Deleted { .. }
                | StoreError::Failed { .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
    busy.await.unwrap();
    expect_proof(&cave, &blob, nonce).await;
    assert_eq!(cave.snapshot().quarantined, 0);
}
