//! What a peer hears when the store did not do what it wanted.

use bytecave_messages::body::BodyError;
use bytecave_messages::store::StoreError;
use bytecave_messages::swarm::Refusal;

/// The refusal that an error of the store's is to whoever sent or wants `size` bytes. What the
/// database said stays here: it names files of this node.
pub(crate) fn refusal(error: StoreError, size: u64) -> Refusal {
    match error {
        StoreError::Full(_) => Refusal::Busy,
        StoreError::NotFound { .. } | StoreError::Body(BodyError::Deleted) => Refusal::NotFound,
        StoreError::NotOurShard { shard, .. } => Refusal::NotOurShard(shard),
        StoreError::Mismatch { actual, .. } => Refusal::Mismatch {
            actual: actual.digest().to_hex(),
        },
        StoreError::TooLarge { limit_bytes }
        | StoreError::Body(BodyError::TooLarge { limit_bytes }) => {
            Refusal::TooLarge { size, limit_bytes }
        }
        StoreError::QuotaReached { .. } | StoreError::DiskFull { .. } => Refusal::Full,
        StoreError::Damaged { .. } | StoreError::Body(BodyError::Damaged) => Refusal::Damaged,
        StoreError::Deleted { .. } => Refusal::Declined,
        StoreError::Blocked { .. } => Refusal::Blocked,
        StoreError::Unavailable => Refusal::Unavailable("the node is stopping"),
        StoreError::ReadOnly { .. } => Refusal::Unavailable("the store is read-only"),
        // Whoever sent it, and hears this if it is still there.
        StoreError::Body(
            error @ (BodyError::Stopped { .. }
            | BodyError::TooSlow { .. }
            | BodyError::Malformed { .. }),
        ) => Refusal::Invalid(error.to_string()),
        StoreError::RangeNotSatisfiable { .. }
        | StoreError::Pinned { .. }
        | StoreError::Body(BodyError::StoreFailed) => {
            tracing::error!(%error, "the store gave an answer that fits no request of a peer");
            Refusal::Unavailable("the store failed")
        }
        StoreError::Failed { operation, cause } => {
            tracing::error!(operation, cause, "the store failed");
            Refusal::Unavailable("the store failed")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use bytecave_core::{BlobCid, ShardCount};
    use bytecave_messages::budget::{ActorName, Full};

    use super::*;

    #[test]
    fn every_error_of_the_store_becomes_what_the_peer_can_act_on() {
        let cid = BlobCid::of(b"content");
        let shard = ShardCount::new(16).unwrap().shard(3).unwrap();
        let full = Full {
            actor: ActorName::Store,
            capacity: 1,
            retry_after: Duration::from_secs(1),
        };
        let quota = StoreError::QuotaReached {
            quota_bytes: 1,
            free_bytes: 0,
            needed_bytes: 2,
        };
        let disk = StoreError::DiskFull {
            free_bytes: 0,
            reserve_bytes: 1,
        };
        let failed = StoreError::Failed {
            operation: "reading",
            cause: "/secret/path".to_owned(),
        };
        for (error, text) in [
            (StoreError::Full(full), "busy: try again later"),
            (StoreError::NotFound { cid }, "Blob not found"),
            (
                StoreError::NotOurShard { cid, shard },
                "shard 3 is not kept by this node",
            ),
            (quota, "storage full"),
            (disk, "storage full"),
            (StoreError::Damaged { cid }, "the blob is damaged here"),
            (
                StoreError::Deleted { cid },
                "Blob not found: declined, it was deleted from this node",
            ),
            (
                StoreError::Blocked { cid },
                "Blob not found: blocked on this node",
            ),
            (
                StoreError::Body(BodyError::Stopped { received: 3 }),
                "Invalid request: the sender stopped after 3 bytes",
            ),
            (
                StoreError::TooLarge { limit_bytes: 5 },
                "the blob of 7 bytes is larger than the 5 bytes allowed here",
            ),
            (StoreError::Unavailable, "unavailable: the node is stopping"),
            (failed, "unavailable: the store failed"),
        ] {
            assert_eq!(refusal(error, 7).to_string(), text);
        }
        let mismatch = StoreError::Mismatch {
            expected: BlobCid::of(b"other"),
            actual: cid,
        };
        let actual = cid.digest().to_hex();
        assert_eq!(refusal(mismatch, 7), Refusal::Mismatch { actual });
    }
}
