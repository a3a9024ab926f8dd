//! The engine as it is measured: opened alone, without actors, and asked the two ways it offers.
//!
//! Blobs that are one value are put and read on the caller's thread, as many threads as clients; larger
//! ones are streamed, as the node streams them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytecave_core::{BlobCid, ShardCount, ShardError, ShardSet};
use bytecave_messages::body::{self, BlobBody, BodyError};
use bytecave_messages::store::{Durability, Foreign, NewBlob, StoreError, Word};
use bytecave_store::engine::{
    Details, Engine, EngineOptions, OpenError, Opened, SMALL_MAX_BYTES, UnlockSecret,
};
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::content::{BlobSeed, PIECE_BYTES, Pieces};
use crate::measure::{Enough, Measured, as_tasks, on_threads};
use crate::random::{SplitMix, fresh_seed};

/// All the shards of a network of the default size.
const SHARDS: u64 = 1024;

/// Why the engine could not be measured.
#[derive(Debug, Error)]
pub enum SubjectError {
    /// It does not open.
    #[error("the engine does not open: {0}")]
    Open(#[from] OpenError),
    /// It refused.
    #[error("the engine failed: {0}")]
    Store(#[from] StoreError),
    /// It failed in the middle of a blob.
    #[error("the engine failed in the middle of a blob: {0}")]
    Body(#[from] BodyError),
    /// It gave another number of bytes.
    #[error("the engine gave {actual} bytes of a blob of {expected}")]
    Length {
        /// What came.
        actual: u64,
        /// What was stored.
        expected: u64,
    },
    /// The shards are no shards.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// The runtime did not start.
    #[error("the runtime did not start: {0}")]
    Runtime(std::io::Error),
}

/// An engine of its own.
pub struct Subject {
    engine: Engine,
    runtime: Runtime,
}

/// Blobs of one size in the engine.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// Bytes of each.
    pub size: u64,
    /// Their names.
    pub cids: Arc<Vec<BlobCid>>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subject")
    }
}

impl Subject {
    /// Opens an engine in `directory`, all else as a node has it by default, but without a quota.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, SubjectError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(SubjectError::Runtime)?;
        let shards = ShardSet::all(ShardCount::new(SHARDS)?);
        let options = EngineOptions {
            durability,
            quota_bytes: u64::MAX >> 1,
            ..EngineOptions::new(directory, UnlockSecret::from_key([7; 32]), shards)
        };
        let _guard = runtime.enter();
        let engine = Engine::open(options)?;
        Ok(Self { engine, runtime })
    }

    /// Puts blobs that were never put before.
    pub fn put_fresh(
        &self,
        size: u64,
        clients: usize,
        enough: Enough,
    ) -> Result<Measured, SubjectError> {
        self.put(size, clients, enough, |_| ())
    }

    /// Puts `count` of them for reading.
    pub fn put_shelf(&self, size: u64, clients: usize, count: u64) -> Result<Shelf, SubjectError> {
        let cids = Arc::new(Mutex::new(Vec::new()));
        let remember = {
            let cids = Arc::clone(&cids);
            move |cid| {
                if let Ok(mut cids) = cids.lock() {
                    cids.push(cid);
                }
            }
        };
        self.put(size, clients, Enough::Operations(count), remember)?;
        let cids = cids.lock().map(|cids| cids.clone()).unwrap_or_default();
        Ok(Shelf {
            size,
            cids: Arc::new(cids),
        })
    }

    /// Reads blobs at random.
    pub fn get_at_random(
        &self,
        shelf: &Shelf,
        clients: usize,
        enough: Enough,
    ) -> Result<Measured, SubjectError> {
        let run = fresh_seed();
        self.get(shelf, clients, enough, move |client| {
            let mut random = SplitMix::new(run ^ client as u64);
            move |_, count| random.below(count)
        })
    }

    /// Reads each blob once.
    pub fn get_in_order(&self, shelf: &Shelf) -> Result<Measured, SubjectError> {
        let enough = Enough::Operations(shelf.cids.len() as u64);
        self.get(shelf, 1, enough, |_| {
            |number, count: usize| usize::try_from(number).unwrap_or(0) % count.max(1)
        })
    }

    fn put<R>(
        &self,
        size: u64,
        clients: usize,
        enough: Enough,
        remember: R,
    ) -> Result<Measured, SubjectError>
    where
        R: Fn(BlobCid) + Clone + Send + Sync + 'static,
    {
        let first = fresh_seed();
        let seed = move |number: u64| BlobSeed::new(first, number);
        if let Some(size) = whole_size(size) {
            return on_threads(clients, enough, |_| {
                let mut pieces = Pieces::of(size);
                let remember = remember.clone();
                Ok(move |number| {
                    let content = pieces.piece(seed(number), 0, size);
                    let stored = self.engine.put_blocking(content, Details::default())?;
                    remember(stored.cid);
                    Ok(size as u64)
                })
            });
        }
        self.runtime.block_on(as_tasks(clients, enough, |_| {
            let engine = self.engine.clone();
            let remember = remember.clone();
            move |number| {
                let engine = engine.clone();
                let remember = remember.clone();
                async move {
                    let stored = put_stream(&engine, seed(number), size).await?;
                    remember(stored);
                    Ok(size)
                }
            }
        }))
    }

    fn get<P, N>(
        &self,
        shelf: &Shelf,
        clients: usize,
        enough: Enough,
        picker: P,
    ) -> Result<Measured, SubjectError>
    where
        P: Fn(usize) -> N + Sync,
        N: FnMut(u64, usize) -> usize + Send + 'static,
    {
        let expected = shelf.size;
        let check = move |actual| {
            if actual == expected {
                Ok(actual)
            } else {
                Err(SubjectError::Length { actual, expected })
            }
        };
        if whole_size(expected).is_some() {
            return on_threads(clients, enough, |client| {
                let mut pick = picker(client);
                let cids = Arc::clone(&shelf.cids);
                Ok(move |number| match cids.get(pick(number, cids.len())) {
                    Some(cid) => check(read_blocking(&self.engine, *cid)?),
                    None => check(0),
                })
            });
        }
        self.runtime.block_on(as_tasks(clients, enough, |client| {
            let mut pick = picker(client);
            let engine = self.engine.clone();
            let cids = Arc::clone(&shelf.cids);
            move |number| {
                let cid = cids.get(pick(number, cids.len())).copied();
                let engine = engine.clone();
                async move {
                    match cid {
                        Some(cid) => check(read_stream(&engine, cid).await?),
                        None => check(0),
                    }
                }
            }
        }))
    }
}

/// The size of a blob that is put and read in one piece; `None` for those that are streamed.
fn whole_size(size: u64) -> Option<usize> {
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= SMALL_MAX_BYTES)
}

async fn put_stream(engine: &Engine, seed: BlobSeed, size: u64) -> Result<BlobCid, SubjectError> {
    let (mut sender, stream) = body::stream(Some(size));
    let feeding = tokio::spawn(async move {
        let mut pieces = Pieces::new();
        let mut offset = 0;
        while offset < size {
            let len =
                usize::try_from(size - offset).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            // When the engine stops reading, its own error says why.
            if sender.send(pieces.piece(seed, offset, len)).await.is_err() {
                return;
            }
            offset += len as u64;
        }
        sender.finish();
    });
    let stored = engine
        .put(NewBlob {
            body: BlobBody::Stream(stream),
            expected: None,
            content_type: None,
            file_name: None,
            word: Word::Client,
            durable: false,
            foreign: Foreign::Refuse,
        })
        .await?;
    // It ended before the engine answered.
    let _ = feeding.await;
    Ok(stored.cid)
}

fn read_blocking(engine: &Engine, cid: BlobCid) -> Result<u64, SubjectError> {
    match engine.open_blocking(cid, None)? {
        Opened::Whole { bytes, .. } => Ok(bytes.len() as u64),
        Opened::Chunks(mut reader) => {
            let mut read = 0;
            while !reader.is_done() {
                read += reader
                    .read()?
                    .iter()
                    .map(|piece| piece.len() as u64)
                    .sum::<u64>();
            }
            Ok(read)
        }
    }
}

async fn read_stream(engine: &Engine, cid: BlobCid) -> Result<u64, SubjectError> {
    match engine.get(cid, None, ()).await?.body {
        BlobBody::Whole(bytes) => Ok(bytes.len() as u64),
        BlobBody::Stream(mut stream) => {
            let mut read = 0;
            while let Some(piece) = stream.next().await {
                read += piece?.len() as u64;
            }
            Ok(read)
        }
    }
}
