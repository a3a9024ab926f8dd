//! The storage engine: encrypted blobs in RocksDB, one column family per shard. It knows no actor.
//!
//! [`Engine`] is a handle that is cheap to clone. Behind it:
//!
//! - the *commit thread* ([`commit`]) writes all small batches, one group after the other;
//! - three pools of threads do what blocks: *readers* read, *sealers* hash and seal, *movers* do
//!   what takes long (syncing and ingesting large files, collecting, rotating keys);
//! - the *upkeep thread* ([`upkeep`]) frees files, looks after errors and starts long jobs.
//!
//! What is answered as stored is as durable as configured; large blobs always are. A crash at any
//! point loses nothing that was answered and leaves nothing that nobody owns: the next start looks
//! at intents, drops and blocks, empties the temporary directory and what was in transit, and never
//! walks all blobs. Closing syncs
//! the write-ahead log and flushes nothing.

mod blob_files;
mod blocks;
mod cache;
mod check;
pub mod codec;
mod commit;
mod copies;
mod empty;
pub(crate) mod failpoint;
mod gc;
mod health;
pub mod keyring;
mod large;
mod layout;
mod list;
mod manifest;
mod nonces;
mod open;
mod options;
mod pool;
mod put;
mod quarantine;
mod read;
pub mod record;
mod retire;
mod rocks;
mod rotate;
mod sample;
mod scan;
mod scrub;
pub mod seal;
pub mod secret;
mod snapshot;
mod space;
mod start;
mod state;
mod transit;
mod upkeep;
pub mod verify;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytecave_core::BlobCid;
use bytecave_messages::store::StoreError;

use self::commit::Op;
use self::commit::blobs::{Delete, Pin};
use self::failpoint::failpoint;
use self::state::{Inner, lock};

pub use self::open::OpenError;
pub use self::options::EngineOptions;
pub use self::put::{Details, SMALL_MAX_BYTES};
pub use self::read::{LargeReader, Opened};
pub use self::secret::UnlockSecret;

/// A handle on the storage engine. The engine closes when [`Engine::close`] is called, or with its
/// last handle.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    // Dropped with the last handle; the engine's own threads hold only `inner`.
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    inner: Arc<Inner>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    commit: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

impl Engine {
    /// Deletes a blob, leaving a tombstone.
    pub async fn delete(&self, cid: BlobCid) -> Result<(), StoreError> {
        failpoint!("delete::before-commit");
        let digest = cid.digest();
        let shard = self.inner.shard_of(&digest);
        let name = self.inner.keyring().sealed_name(&digest);
        let answer = self.inner.queue.submit(|reply| {
            Op::Delete(Delete {
                name,
                digest,
                shard,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }

    /// Protects a blob from deletion, or stops protecting it.
    pub async fn set_pin(&self, cid: BlobCid, pinned: bool) -> Result<(), StoreError> {
        let digest = cid.digest();
        let shard = self.inner.shard_of(&digest);
        let name = self.inner.keyring().sealed_name(&digest);
        let answer = self.inner.queue.submit(|reply| {
            Op::Pin(Pin {
                name,
                digest,
                shard,
                pinned,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }

    /// Commits what waits, syncs the write-ahead log and ends all threads. Handles that are left
    /// answer [`StoreError::Unavailable`]. Blocks for as long as the jobs under way need.
    pub fn close(&self) {
        self.owner.close();
    }
}

impl Owner {
    fn close(&self) {
        let Some(threads) = lock(&self.threads).take() else {
            return;
        };
        let inner = &self.inner;
        inner.upkeep.close();
        inner.queue.close();
        // The threads catch their panics, so there is nothing to learn from joining them.
        let _ = threads.commit.join();
        // Ends compactions that jobs may be waiting for; memtables are in the log.
        inner.db.cancel_all_background_work(false);
        let _ = threads.upkeep.join();
        inner.readers.close();
        inner.sealers.close();
        inner.movers.close();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}
