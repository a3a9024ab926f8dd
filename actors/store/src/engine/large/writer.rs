//! The file that a large blob is written into: hashed, sealed, chunk by chunk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytecave_core::Digest;
use bytecave_messages::store::StoreError;
use bytes::Bytes;
use ring::digest::{Context, SHA256};
use rocksdb::SstFileWriter;

use super::temp::TempFile;
use super::tree::Tree;
use crate::engine::layout::chunk_key;
use crate::engine::rocks::sst_options;
use crate::engine::seal::{BlobCipher, BlobId, DataKey, SEALED_SEGMENT_BYTES, SEGMENT_BYTES};
use crate::engine::state::{Inner, failed, seal_failed};

/// The file is handed to the disk in steps of this size, so that closing it finds little to sync:
/// the writer ignores the options that would do it.
const WRITE_BACK_BYTES: u64 = 32 << 20;

/// Writes one large blob. Dropped, it removes its file, unless the database has taken it over.
pub(super) struct ChunkWriter {
    // Before the file in this list, so that it lets go of it first.
    sst: SstFileWriter<'static>,
    file: TempFile,
    sha: Context,
    blob_id: BlobId,
    data_key: DataKey,
    cipher: BlobCipher,
    /// Content of the segment being filled. A full one waits for what follows: only then is it
    /// known whether it is the last.
    pending: Vec<u8>,
    /// Number of the segment being filled.
    number: u32,
    size: u64,
    handed_over: u64,
    writing_back: Arc<AtomicBool>,
}

impl ChunkWriter {
    /// Begins a file at `path`.
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = TempFile::new(path);
        let sst = SstFileWriter::create(sst_options());
        sst.open(file.path())
            .map_err(|error| failed("making a temporary file", error))?;
        let blob_id = BlobId::random().map_err(seal_failed)?;
        let data_key = DataKey::random().map_err(seal_failed)?;
        Ok(Self {
            sst,
            file,
            sha: Context::new(&SHA256),
            cipher: BlobCipher::new(&data_key, blob_id).map_err(seal_failed)?,
            blob_id,
            data_key,
            pending: Vec::with_capacity(SEALED_SEGMENT_BYTES),
            number: 0,
            size: 0,
            handed_over: 0,
            writing_back: Arc::default(),
        })
    }

    /// Takes in the next bytes.
    pub(super) fn absorb(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
        for piece in batch {
            self.sha.update(piece);
            self.size += piece.len() as u64;
            let mut rest = piece.as_ref();
            while !rest.is_empty() {
                if self.pending.len() == SEGMENT_BYTES {
                    self.put_segment(false)?;
                }
                let room = SEGMENT_BYTES - self.pending.len();
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.pending.extend_from_slice(now);
                rest = later;
            }
        }
        Ok(())
    }

    /// Writes the last segment; gives the digest of everything.
    pub(super) fn end_content(&mut self) -> Result<Digest, StoreError> {
        self.put_segment(true)?;
        let sha = std::mem::replace(&mut self.sha, Context::new(&SHA256));
        Ok(Digest::finish(sha))
    }

    /// Writes the pages of group hashes behind the last segment.
    pub(super) fn put_pages(&mut self, tree: Tree) -> Result<(), StoreError> {
        tree.each_page(|page| {
            let sealed = self
                .cipher
                .seal_page(self.number, page)
                .map_err(seal_failed)?;
            self.put(&sealed)
        })
    }

    /// Closes and syncs the file.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        self.sst
            .finish()
            .map_err(|error| failed("closing a temporary file", error))
    }

    /// Has the disk begin with what was written, if it is much; nobody waits for it.
    pub(super) fn write_back(&mut self, inner: &Inner) {
        let written = self.written();
        if written - self.handed_over < WRITE_BACK_BYTES
            || self.writing_back.swap(true, Ordering::Relaxed)
        {
            return;
        }
        self.handed_over = written;
        let path = self.file.path().to_path_buf();
        let done = Arc::clone(&self.writing_back);
        let begun = inner.movers.try_submit(move || {
            // Closing syncs again, and reports what goes wrong.
            let _ = File::open(path).and_then(|file| file.sync_data());
            done.store(false, Ordering::Relaxed);
        });
        if !begun {
            self.writing_back.store(false, Ordering::Relaxed);
        }
    }

    fn put_segment(&mut self, last: bool) -> Result<(), StoreError> {
        let mut segment = std::mem::take(&mut self.pending);
        self.cipher
            .seal_segment(self.number, last, &mut segment)
            .map_err(seal_failed)?;
        self.put(&segment)?;
        segment.clear();
        self.pending = segment;
        Ok(())
    }

    fn put(&mut self, value: &[u8]) -> Result<(), StoreError> {
        let key = chunk_key(self.blob_id, self.number);
        self.sst
            .put(key, value)
            .map_err(|error| failed("writing a temporary file", error))?;
        self.number += 1;
        Ok(())
    }

    /// Bytes in the file so far.
    pub(super) fn written(&self) -> u64 {
        self.sst.file_size()
    }

    /// Bytes of content so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The blob's id.
    pub(super) fn blob_id(&self) -> BlobId {
        self.blob_id
    }

    /// The blob's key.
    pub(super) fn data_key(&self) -> DataKey {
        self.data_key.clone()
    }
}
