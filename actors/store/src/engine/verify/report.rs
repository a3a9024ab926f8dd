//! What a verification says: plain data that the command line prints or writes as JSON.

use std::path::PathBuf;

use bytecave_core::{BlobCid, Fingerprint, ShardId};
use serde::Serialize;

/// Findings of one kind that are listed; further ones are only counted.
pub const LISTED: usize = 1000;

/// Findings of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings<T> {
    /// How many there are.
    pub total: u64,
    /// The first [`LISTED`] of them.
    pub listed: Vec<T>,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self {
            total: 0,
            listed: Vec::new(),
        }
    }
}

impl<T> Findings<T> {
    /// One more.
    pub(crate) fn add(&mut self, finding: T) {
        self.total += 1;
        if self.listed.len() < LISTED {
            self.listed.push(finding);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// A blob that is in the database and cannot be read as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedBlob {
    /// Its name; unknown where its metadata cannot be read.
    pub cid: Option<BlobCid>,
    /// Its shard.
    pub shard: ShardId,
    /// Its size in bytes, where known.
    pub size: Option<u64>,
    /// The client's name for it, where known.
    pub file_name: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// A part of a family that cannot be read, so that what stands there is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// The family.
    pub family: String,
    /// What stands there: chunks, data, metadata, outbox, counters, tombstones.
    pub what: &'static str,
    /// What the database said, with the file's name.
    pub cause: String,
}

/// Counters of a shard that are not what a full count gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WrongCounters {
    /// The shard.
    pub shard: ShardId,
    /// What is stored; `None` where it cannot be read or is not there.
    pub stored: Option<Count>,
    /// What the full count gives.
    pub counted: Count,
}

/// What counters and a full count have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// Blobs.
    pub blobs: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Sealed bytes.
    pub sealed_bytes: u64,
    /// Blobs flagged as damaged.
    pub quarantined: u64,
    /// Blobs that are needed no longer and not gone yet.
    pub retired: u64,
    /// Content bytes of these.
    pub retired_bytes: u64,
    /// Sum over the set of blobs.
    pub fingerprint: Fingerprint,
}

/// Bytes that no blob, upload or deletion accounts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphans {
    /// Small blobs' data without metadata.
    pub small: u64,
    /// Bytes of these.
    pub small_bytes: u64,
    /// Chunks and pages without metadata.
    pub chunks: u64,
    /// Bytes of these.
    pub chunk_bytes: u64,
}

/// What the next start will clear up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unfinished {
    /// Large uploads that were cut short.
    pub intents: u64,
    /// Deleted large blobs whose files were still there.
    pub drops: u64,
    /// Large blobs of other nodes' shards that were in transit.
    pub transit: u64,
}

/// What a repair changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repaired {
    /// Counters written anew.
    pub counters: u64,
    /// Damaged blobs flagged, so that they are not served.
    pub quarantined: u64,
    /// Flagged blobs that were found whole, and are served again.
    pub released: u64,
    /// Rows of orphans and of records that do not open removed.
    pub rows_removed: u64,
    /// Runs of orphaned chunks whose files were removed.
    pub files_removed: u64,
    /// Retired blobs for which it was noted again when they go.
    pub ends_noted: u64,
}

/// What a salvage did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Salvaged {
    /// Blobs in the new database: all of them whole.
    pub blobs: u64,
    /// Content bytes of these.
    pub bytes: u64,
    /// Blobs that the shards' last counters knew of beyond these.
    pub lost_blobs: u64,
    /// Where the damaged database was put; nothing in it was changed.
    pub damaged_dir: PathBuf,
}

/// What a verification found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Families looked through.
    pub families: u64,
    /// Blobs that are whole: every byte opened, CID and tree recomputed.
    pub blobs: u64,
    /// Content bytes of these.
    pub bytes: u64,
    /// Blobs that are not.
    pub damaged: Findings<DamagedBlob>,
    /// Parts that cannot be read.
    pub unreadable: Findings<Unreadable>,
    /// Records other than metadata that do not open.
    pub bad_records: Findings<Unreadable>,
    /// Counters that disagree with the count.
    pub wrong_counters: Findings<WrongCounters>,
    /// Bytes that belong to nothing.
    pub orphans: Orphans,
    /// What the next start clears up.
    pub unfinished: Unfinished,
    /// What was repaired, if that was asked for.
    pub repaired: Option<Repaired>,
    /// What was salvaged, if that was asked for.
    pub salvaged: Option<Salvaged>,
}

impl VerifyReport {
    /// Whether nothing at all was found amiss.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty()
            && self.unreadable.is_empty()
            && self.bad_records.is_empty()
            && self.wrong_counters.is_empty()
            && self.orphans == Orphans::default()
    }

    /// Whether only `--salvage` helps: a part of the database cannot be read, and what stands there
    /// cannot be named.
    pub fn needs_salvage(&self) -> bool {
        self.salvaged.is_none() && !self.unreadable.is_empty()
    }
}

/// A family that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DroppedShard {
    /// Its shard.
    pub shard: ShardId,
    /// Blobs that were in it, by its counters; `None` where these cannot be read.
    pub blobs: Option<u64>,
    /// Content bytes that were in it.
    pub bytes: Option<u64>,
    /// Sealed bytes that were in it: the space that becomes free.
    pub sealed_bytes: Option<u64>,
}

/// What dropping shards did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropReport {
    /// Families that are gone.
    pub dropped: Vec<DroppedShard>,
    /// Shards of the range that had no family here.
    pub absent: Vec<ShardId>,
}
