//! What survives a restart: one JSON document in a [`state_file`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_core::{Digest, PeerId, ShardCount, ShardId};
use bytecave_messages::state_file;
use serde::{Deserialize, Serialize};

use super::aside;
use super::board::{Board, Compared, PEERS_MAX, Record};
use super::handover::KeptHandover;
use crate::audits::KeptAudits;

/// The form that is written and read.
const VERSION: u32 = 1;
/// Longest file that is read or written: a hundred thousand comparisons of a shard with a peer are 4 MiB.
const LIMIT_BYTES: usize = 32 << 20;

/// What survives.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) board: Board,
    /// How peers behaved.
    pub(super) scores: Vec<(PeerId, f64)>,
    /// What audits of them found.
    pub(super) audits: KeptAudits,
    /// What is being handed over.
    pub(super) handover: KeptHandover,
}

/// The document as it is written. None of the names is safe to change.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    peers: Vec<WrittenPeer>,
    /// Shards that are handed over, blobs that were proved, blobs that were let go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    handing: Vec<(ShardId, u64, u64)>,
    /// Blobs that were let go and not yet proved once more: they are restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unconfirmed: Vec<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPeer {
    peer_id: PeerId,
    #[serde(flatten)]
    known: Known,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compared_ms: Option<u64>,
    #[serde(default)]
    keyed_ms: u64,
    #[serde(default)]
    beyond_bytes: u64,
    /// Shard, when it was last alike, blobs that differed.
    #[serde(default)]
    shards: Vec<(ShardId, Option<u64>, u64)>,
    /// Audits that it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passed: Option<u64>,
    /// Copies that it did not prove, and since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failed: Vec<(Digest, u64)>,
}

/// The file.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// Writes that were begun.
    begun: AtomicU64,
    /// Held while it is written: a write that was given up goes on behind the back of its caller.
    writing: Arc<Mutex<Writing>>,
}

/// How the last write went.
#[derive(Debug, Default)]
struct Writing {
    /// Its number: one that was begun before it comes too late.
    number: u64,
    /// Whether it failed, which is said once.
    failing: bool,
}

impl StateFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            begun: AtomicU64::new(0),
            writing: Arc::default(),
        }
    }

    /// What survived; nothing when there is no file, or none that can be read.
    pub(super) async fn load(&self) -> Document {
        let path = self.path.clone();
        let loaded = aside::blocking(move || load(&path)).await;
        loaded.unwrap_or_default()
    }

    /// Writes; whether that succeeded.
    pub(super) async fn save(&self, document: Document) -> bool {
        let (path, writing) = (self.path.clone(), Arc::clone(&self.writing));
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let saved = aside::blocking(move || {
            let mut writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
            if number < writing.number {
                return false;
            }
            let written = write(&path, document);
            if let Err(error) = &written
                && !writing.failing
            {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot write how copies are; a restart forgets it");
            }
            *writing = Writing {
                number,
                failing: written.is_err(),
            };
            written.is_ok()
        });
        saved.await.unwrap_or(false)
    }
}

/// A score in steps that are worth writing down.
#[expect(
    clippy::cast_possible_truncation,
    reason = "scores lie between -100 and 100"
)]
pub(super) fn step(score: f64) -> i64 {
    (score / 5.0).round() as i64
}

fn load(path: &Path) -> Document {
    let problem = match state_file::read(path, LIMIT_BYTES) {
        Ok(None) => return Document::default(),
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok(document) => return document,
            Err(problem) => problem,
        },
        Err(error) => error.to_string(),
    };
    state_file::set_aside(path, "copies", &problem);
    Document::default()
}

fn parse(bytes: &[u8]) -> Result<Document, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let failed = |error: serde_json::Error| error.to_string();
    let Version { version } = serde_json::from_slice(bytes).map_err(failed)?;
    if version != VERSION {
        return Err(format!("it is of version {version}, not {VERSION}"));
    }
    let written: Written = serde_json::from_slice(bytes).map_err(failed)?;
    let mut document = Document::default();
    let mut peers = BTreeMap::new();
    let exists = |shard: &ShardId| shard.get() < ShardCount::MAX;
    for WrittenPeer { peer_id, known } in written.peers {
        let scores = &mut document.scores;
        scores.extend(known.score.map(|score| (peer_id, score)));
        let KeptAudits { passed, failed } = &mut document.audits;
        passed.extend(known.passed.map(|passed| (peer_id, passed)));
        let copies = known.failed.into_iter();
        failed.extend(copies.map(|(digest, since_ms)| (peer_id, digest, since_ms)));
        let Some(compared_ms) = known.compared_ms.filter(|_| peers.len() < PEERS_MAX) else {
            continue;
        };
        let shards = known.shards.into_iter();
        let shards = shards.filter(|(shard, ..)| exists(shard));
        let record = Record {
            compared_ms,
            keyed_ms: known.keyed_ms,
            keyed_from: None,
            beyond_bytes: known.beyond_bytes,
            shards: shards
                .map(|(shard, alike_ms, differing)| {
                    let compared = Compared {
                        alike_ms,
                        differing,
                    };
                    (shard, compared)
                })
                .collect(),
        };
        peers.insert(peer_id, record);
    }
    document.board.peers = peers;
    let handing = written.handing.into_iter();
    document.handover = KeptHandover {
        applied: handing.filter(|(shard, ..)| exists(shard)).collect(),
        unconfirmed: written.unconfirmed,
    };
    Ok(document)
}

/// Replaces the file: after this, and after a crash in it, there is a whole one.
fn write(path: &Path, document: Document) -> io::Result<()> {
    let bytes = serde_json::to_vec(&written(document))?;
    state_file::write(path, LIMIT_BYTES, &bytes)
}

fn written(document: Document) -> Written {
    let mut peers: BTreeMap<PeerId, Known> = BTreeMap::new();
    for (peer, record) in document.board.peers {
        let shards = record.shards.into_iter();
        let known = Known {
            compared_ms: Some(record.compared_ms),
            keyed_ms: record.keyed_ms,
            beyond_bytes: record.beyond_bytes,
            shards: shards
                .map(|(shard, it)| (shard, it.alike_ms, it.differing))
                .collect(),
            ..Known::default()
        };
        peers.insert(peer, known);
    }
    for (peer, score) in document.scores {
        peers.entry(peer).or_default().score = Some(score);
    }
    for (peer, passed) in document.audits.passed {
        peers.entry(peer).or_default().passed = Some(passed);
    }
    for (peer, digest, since_ms) in document.audits.failed {
        let failed = &mut peers.entry(peer).or_default().failed;
        failed.push((digest, since_ms));
    }
    let peers = peers.into_iter();
    Written {
        version: VERSION,
        peers: peers
            .map(|(peer_id, known)| WrittenPeer { peer_id, known })
            .collect(),
        handing: document.handover.applied,
        unconfirmed: document.handover.unconfirmed,
    }
}

#[cfg(test)]
mod tests;
