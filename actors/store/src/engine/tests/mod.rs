//! The engine against a real RocksDB in temporary directories, with 16 shards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blobs;
mod blocks;
mod copies;
mod damage;
mod deletes;
mod leaves;
mod listing;
mod nonces;
mod opening;
mod retired;
mod rotation;
mod sampling;
mod scrubbing;
mod transit;
mod uploads;
mod words;

use std::time::{Duration, Instant};

use bytecave_core::{BlobCid, ShardCount, ShardSet};
use bytecave_messages::body::{self, BlobBody};
use bytecave_messages::store::{
    ByteRange, Foreign, NewBlob, StoreError, StoreSnapshot, Stored, Word,
};
use bytes::Bytes;
use tempfile::TempDir;

use super::{Engine, EngineOptions, OpenError, UnlockSecret};

/// Shards of a test database.
const SHARDS: u64 = 16;
/// How long a test waits for what happens beside it.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine in a directory of its own.
struct Cave {
    dir: TempDir,
    engine: Option<Engine>,
    options: EngineOptions,
}

impl Cave {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut EngineOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let count = ShardCount::new(SHARDS).unwrap();
        let mut options = EngineOptions::new(
            dir.path(),
            UnlockSecret::from_key([7; 32]),
            ShardSet::all(count),
        );
        options.disk_reserve_bytes = Some(0);
        change(&mut options);
        let engine = Some(Engine::open(options.clone()).unwrap());
        Self {
            dir,
            engine,
            options,
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Closes the engine and opens it again, with changed options.
    fn reopen_with(&mut self, change: impl FnOnce(&mut EngineOptions)) -> Result<(), OpenError> {
        self.close();
        change(&mut self.options);
        self.engine = Some(Engine::open(self.options.clone())?);
        Ok(())
    }

    fn reopen(&mut self) {
        self.reopen_with(|_| ()).unwrap();
    }

    fn close(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.close();
        }
    }

    async fn put(&self, content: &[u8]) -> Result<Stored, StoreError> {
        self.engine().put(whole(content)).await
    }

    async fn read(&self, cid: BlobCid, range: Option<ByteRange>) -> Result<Vec<u8>, StoreError> {
        let read = self.engine().get(cid, range, ()).await?;
        let content = collect(read.body).await?;
        assert_eq!(read.len, content.len() as u64);
        Ok(content)
    }

    fn snapshot(&self) -> StoreSnapshot {
        self.engine().snapshot()
    }

    /// Waits until the snapshot is as `wanted` says.
    async fn until(&self, wanted: impl Fn(&StoreSnapshot) -> bool) -> StoreSnapshot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "still {snapshot:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A body without anything stated about it.
fn blob(body: BlobBody) -> NewBlob {
    NewBlob {
        body,
        expected: None,
        content_type: None,
        file_name: None,
        word: Word::Client,
        durable: false,
        foreign: Foreign::Refuse,
    }
}

/// `content` at once.
fn whole(content: &[u8]) -> NewBlob {
    blob(BlobBody::Whole(Bytes::copy_from_slice(content)))
}

fn gauge(snapshot: &StoreSnapshot, name: &str) -> u64 {
    let mut gauges = snapshot.gauges.iter();
    gauges.find(|gauge| gauge.0 == name).unwrap().1
}

/// `content` as a stream of pieces of `step` bytes.
fn streamed(content: &[u8], step: usize, stated: bool) -> BlobBody {
    let (mut sender, stream) = body::stream(stated.then_some(content.len() as u64));
    let content = content.to_vec();
    tokio::spawn(async move {
        for piece in content.chunks(step) {
            if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
        }
        sender.finish();
    });
    BlobBody::Stream(stream)
}

async fn collect(body: BlobBody) -> Result<Vec<u8>, StoreError> {
    match body {
        BlobBody::Whole(bytes) => Ok(bytes.to_vec()),
        BlobBody::Stream(mut stream) => {
            let mut content = Vec::new();
            while let Some(piece) = stream.next().await {
                content.extend_from_slice(&piece?);
            }
            Ok(content)
        }
    }
}

/// `size` bytes that do not repeat, different for each `seed`.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
