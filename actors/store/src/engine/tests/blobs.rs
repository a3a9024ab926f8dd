//! Storing, reading, deleting.

use bytecave_core::{Commitment, tree};
use bytecave_messages::store::Durability;

use super::*;
use crate::engine::seal::SEGMENT_BYTES;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_every_size_read_back_before_and_after_a_restart() {
    let mut cave = Cave::new();
    let sizes = [
        0,
        1,
        SEGMENT_BYTES - 1,
        SEGMENT_BYTES,
        SEGMENT_BYTES + 1,
        2 * SEGMENT_BYTES,
        4 * MIB - 1,
        4 * MIB,
        4 * MIB + 1,
        5 * MIB,
        9 * MIB,
    ];
    let blobs: Vec<_> = sizes.map(|size| content(size, size as u64)).into();
    for blob in &blobs {
        let stored = cave.put(blob).await.unwrap();
        let root = tree::blob_root(blob);
        assert_eq!(stored.cid, BlobCid::of(blob));
        assert_eq!(stored.size, blob.len() as u64);
        assert_eq!(stored.blob_root, root);
        assert_eq!(stored.commitment, Commitment::of(stored.size, &root));
        assert_eq!(stored.durability, Durability::Strict);
        assert!(stored.new);
        assert!(!cave.put(blob).await.unwrap().new, "{} again", blob.len());
    }
    for restarted in [false, true] {
        for blob in &blobs {
            let read = cave.read(BlobCid::of(blob), None).await.unwrap();
            assert!(read == *blob, "{} bytes, restarted {restarted}", blob.len());
        }
        let snapshot = cave.snapshot();
        assert_eq!(snapshot.blobs, sizes.len() as u64);
        assert_eq!(snapshot.bytes, sizes.iter().sum::<usize>() as u64);
        assert_eq!((snapshot.dead_bytes, snapshot.reserved_bytes), (0, 0));
        cave.reopen();
    }
}
