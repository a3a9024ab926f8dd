//! Storing a large blob: into a table file of its own, which then becomes part of the database.
//!
//! 1. The bytes are hashed, sealed and written to a file in `tmp/`, while the blob tree is hashed
//!    beside. What does this travels from job to job, so a slow client holds no thread.
//! 2. The pages of group hashes follow, and the file is synced.
//! 3. A durable *intent* says that chunks may be there without metadata.
//! 4. The file is ingested: it becomes a file of the last level, durable when that returns.
//! 5. One synced batch brings metadata, counters and outbox entry and ends the intent.
//!
//! Cut short before 3, the file in `tmp/` goes with its owner or at the next start; between 3 and 5
//! the intent becomes a drop, now or at the next start.
//!
//! A blob of others' shard goes another way behind 2, if it is taken at all: see [`super::transit`].

mod temp;
mod tree;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytecave_core::BlobCid;
use bytecave_messages::body::{BodyError, BodyStream};
use bytecave_messages::store::{InTransit, StoreError, TransitHold, Word};
use bytes::Bytes;

use self::tree::TreeHasher;
use self::writer::ChunkWriter;
use super::commit::Op;
use super::commit::blobs::{Kept, chunk_run};
use super::commit::large::{Begin, Begun, Finish};
use super::failpoint::failpoint;
use super::layout::TRANSIT_FAMILY;
use super::pool::Running;
use super::put::{Details, Outcome, Passing, check_expected};
use super::record::{BlobMeta, Layout};
use super::seal::{sealed_len, sealed_pages_len};
use super::space::Reservation;
use super::state::{Found, Inner, failed, now_ms, stopped};

/// Bytes that one job hashes and seals.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes reserved at a time where the length was not stated.
const RESERVE_STEP_BYTES: u64 = 16 << 20;

/// A large blob's file, complete but not yet closed.
struct Hashed {
    writer: ChunkWriter,
    meta: BlobMeta,
    /// It is not kept here.
    passes: bool,
}

/// What became of the bytes once their digest was known.
enum Written {
    /// Stored already: the file is for nothing.
    Here(Box<Kept>),
    /// Closed, synced, ready to be ingested.
    Ready(Box<Hashed>),
}

/// Stores `head` and what follows in `stream`.
pub(crate) async fn put(
    inner: &Arc<Inner>,
    head: Vec<Bytes>,
    stream: Option<BodyStream>,
    details: Details,
) -> Result<Outcome, StoreError> {
    let word = details.word;
    let stated = stream.as_ref().and_then(BodyStream::stated_len);
    let mut source = Source {
        head,
        stream,
        received: 0,
        limit_bytes: inner.options.max_blob_bytes,
    };
    let mut space = inner.reserve(sealed_in_all(stated.unwrap_or_default()))?;
    let (writer, tree) = absorb(inner, &mut source, &mut space).await?;
    let closing = {
        let inner = Arc::clone(inner);
        move || close(&inner, writer, tree, details)
    };
    // Closing syncs the file, which takes as long as the disk does.
    let written = inner.movers.run(closing).await.map_err(stopped)??;
    let hashed = match written {
        Written::Here(kept) => return Ok(Outcome::Kept(*kept)),
        Written::Ready(hashed) => *hashed,
    };
    if hashed.passes {
        return pass_through(inner, hashed, space).await;
    }
    failpoint!("large::before-intent");
    let intent = match begin(inner, &hashed.meta, word).await? {
        Begun::Here(kept) => return Ok(Outcome::Kept(*kept)),
        Begun::Go(intent) => intent,
    };
    failpoint!("ingest::before");
    let ingesting = {
        let inner = Arc::clone(inner);
        move || {
            ingest(&inner, &hashed.writer, &intent.run().family)?;
            Ok::<_, StoreError>((hashed.meta, intent))
        }
    };
    let (meta, intent) = inner.movers.run(ingesting).await.map_err(stopped)??;
    failpoint!("ingest::after");
    let answer = inner.queue.submit(|reply| {
        Op::Finish(Box::new(Finish {
            meta,
            intent,
            space,
            reply,
        }))
    });
    let kept = answer.await.map_err(|_| StoreError::Unavailable)??;
    failpoint!("large::before-answer");
    Ok(Outcome::Kept(kept))
}

/// Puts a blob of others' shard where it can be read until nobody holds it.
async fn pass_through(
    inner: &Arc<Inner>,
    hashed: Hashed,
    space: Reservation,
) -> Result<Outcome, StoreError> {
    let Hashed { writer, meta, .. } = hashed;
    let (digest, size, blob_root) = (meta.digest, meta.size, meta.blob_root);
    // Before it is ingested, so that nothing is left whatever happens.
    let held = inner.transit.hold(meta, space)?;
    failpoint!("transit::before-ingest");
    let ingesting = {
        let inner = Arc::clone(inner);
        move || ingest(&inner, &writer, TRANSIT_FAMILY).map(|()| held)
    };
    let held = inner.movers.run(ingesting).await.map_err(stopped)??;
    failpoint!("transit::after-ingest");
    Ok(Outcome::Passing(Passing {
        digest,
        size,
        blob_root,
        content: InTransit::Disk(TransitHold::new(held)),
    }))
}

/// Where the bytes come from.
struct Source {
    head: Vec<Bytes>,
    stream: Option<BodyStream>,
    received: u64,
    limit_bytes: u64,
}

impl Source {
    /// The next pieces, about [`BATCH_BYTES`]; none at the end.
    async fn batch(&mut self) -> Result<Arc<[Bytes]>, StoreError> {
        let mut batch = std::mem::take(&mut self.head);
        let mut len: usize = batch.iter().map(Bytes::len).sum();
        while len < BATCH_BYTES
            && let Some(stream) = &mut self.stream
        {
            match stream.next().await {
                Some(piece) => {
                    let piece = piece?;
                    len += piece.len();
                    batch.push(piece);
                }
                None => self.stream = None,
            }
        }
        self.received += len as u64;
        let limit_bytes = self.limit_bytes;
        if self.received > limit_bytes {
            return Err(StoreError::Body(BodyError::TooLarge { limit_bytes }));
        }
        Ok(batch.into())
    }
}

/// The two halves of the work on one batch, side by side.
struct Absorbing {
    writer: Running<Result<ChunkWriter, StoreError>>,
    tree: Running<Result<TreeHasher, StoreError>>,
}

/// Takes in the whole body: while one batch is in work, the next one is collected.
async fn absorb(
    inner: &Arc<Inner>,
    source: &mut Source,
    space: &mut Reservation,
) -> Result<(ChunkWriter, TreeHasher), StoreError> {
    let number = inner.stats.uploads.fetch_add(1, Ordering::Relaxed);
    let path = |kind| {
        inner
            .options
            .tmp_dir
            .join(format!("upload-{number}.{kind}"))
    };
    let chunks = path("sst");
    let opening = move || ChunkWriter::create(chunks);
    let mut writer = inner.sealers.run(opening).await.map_err(stopped)??;
    let mut tree = TreeHasher::new(path("pages"));
    let mut batch = source.batch().await?;
    while !batch.is_empty() {
        // Reserved before it is written.
        space.at_least(sealed_in_all(source.received), RESERVE_STEP_BYTES)?;
        let absorbing = start(inner, writer, tree, batch).await?;
        batch = source.batch().await?;
        writer = absorbing.writer.result().await.map_err(stopped)??;
        tree = absorbing.tree.result().await.map_err(stopped)??;
        space.note_written(writer.written());
        writer.write_back(inner);
    }
    Ok((writer, tree))
}

async fn start(
    inner: &Inner,
    mut writer: ChunkWriter,
    mut tree: TreeHasher,
    batch: Arc<[Bytes]>,
) -> Result<Absorbing, StoreError> {
    let same = Arc::clone(&batch);
    let writer = inner
        .sealers
        .submit(move || writer.absorb(&batch).map(|()| writer))
        .await
        .map_err(stopped)?;
    let tree = inner
        .sealers
        .submit(move || {
            same.iter().try_for_each(|piece| tree.absorb(piece))?;
            Ok(tree)
        })
        .await
        .map_err(stopped)?;
    Ok(Absorbing { writer, tree })
}

/// Ends the content, looks whether it is wanted, and closes the file behind its pages.
fn close(
    inner: &Inner,
    mut writer: ChunkWriter,
    tree: TreeHasher,
    details: Details,
) -> Result<Written, StoreError> {
    let digest = writer.end_content()?;
    check_expected(&details, digest)?;
    let cid = BlobCid::from_digest(digest);
    let keyring = inner.keyring();
    let name = keyring.sealed_name(&digest);
    let place = inner.destination(&name, cid, &details)?;
    if let Some(place) = &place
        && let Found::Here(meta) = inner.find(place, &keyring, &name)?
        && !meta.quarantined
        && !meta.is_retired()
    {
        let meta = (*meta).clone();
        return Ok(Written::Here(Box::new(Kept { meta, new: false })));
    }
    let mut tree = tree.finish()?;
    let page_roots = std::mem::take(&mut tree.page_roots);
    let blob_root = tree.root;
    writer.put_pages(tree)?;
    failpoint!("large::before-finish");
    writer.close()?;
    let size = writer.size();
    let meta = BlobMeta {
        digest,
        size,
        content_type: details.content_type,
        file_name: details.file_name,
        created_ms: now_ms(),
        blob_id: writer.blob_id(),
        data_key: writer.data_key(),
        blob_root,
        page_roots,
        layout: Layout::Large,
        pinned: false,
        quarantined: false,
        sealed_size: sealed_in_all(size),
        retired_until_ms: None,
    };
    Ok(Written::Ready(Box::new(Hashed {
        writer,
        meta,
        passes: place.is_none(),
    })))
}

/// Has the intent written, or learns that somebody else was quicker.
async fn begin(inner: &Arc<Inner>, meta: &BlobMeta, word: Word) -> Result<Begun, StoreError> {
    let shard = inner.shard_of(&meta.digest);
    let name = inner.keyring().sealed_name(&meta.digest);
    let place = inner.owned_place(shard, BlobCid::from_digest(meta.digest))?;
    let run = chunk_run(&place.family.name, meta)?;
    drop(place);
    let answer = inner.queue.submit(|reply| {
        Op::Begin(Box::new(Begin {
            name,
            shard,
            meta: meta.clone(),
            run,
            word,
            reply,
        }))
    });
    answer.await.map_err(|_| StoreError::Unavailable)?
}

/// Makes the file part of the database.
fn ingest(inner: &Inner, writer: &ChunkWriter, family: &str) -> Result<(), StoreError> {
    let handle = inner.db.cf_handle(family).ok_or(StoreError::Unavailable)?;
    let options = super::rocks::ingest_options();
    inner
        .db
        .ingest_external_file_cf_opts(&handle, &options, vec![writer.path()])
        .map_err(|error| failed("ingesting a large blob", error))
}

/// What a large blob of `size` bytes takes on disk.
fn sealed_in_all(size: u64) -> u64 {
    sealed_len(size).saturating_add(sealed_pages_len(size))
}
