//! Where a stream goes: to whoever asked, with its end withheld until it is verified, and beside that
//! into the store.

use std::collections::VecDeque;
use std::sync::Arc;

use bytecave_core::BlobCid;
use bytecave_messages::body::{BlobBody, BodyError, BodySender, ReceiverGone, stream};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::{Foreign, NewBlob, Word};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::Instrument as _;

/// Bytes that are withheld until the whole is verified. Without the last of them nobody takes what
/// came for the blob.
pub(super) const WITHHELD_BYTES: usize = 256 << 10;
/// Most bytes of a piece.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// Pieces by which the store may be behind the client before a stream is not kept: 4 MiB.
const BEHIND_PIECES: usize = 16;

/// The receiver of a stream.
#[derive(Debug)]
pub(super) struct Out {
    sender: BodySender,
    /// Pieces that are withheld, and their bytes.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    keep: Option<Keep>,
}

impl Out {
    pub(super) fn new(sender: BodySender, keep: Option<Keep>) -> Self {
        Self {
            sender,
            held: VecDeque::new(),
            held_bytes: 0,
            keep,
        }
    }

    /// Returns when the receiver is gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Takes a piece, and gives on those that need not be withheld.
    pub(super) async fn push(&mut self, piece: Bytes) -> Result<(), ReceiverGone> {
        self.held_bytes += piece.len();
        self.held.push_back(piece);
        while let Some(first) = self.held.front()
            && self.held_bytes - first.len() >= WITHHELD_BYTES
        {
            self.release().await?;
        }
        Ok(())
    }

    /// All of it is verified.
    pub(super) async fn finish(mut self) -> Result<(), ReceiverGone> {
        while !self.held.is_empty() {
            self.release().await?;
        }
        self.sender.finish();
        if let Some(keep) = self.keep {
            keep.finish();
        }
        Ok(())
    }

    /// It will never be whole.
    pub(super) fn fail(self, error: BodyError) {
        self.sender.fail(error);
    }

    async fn release(&mut self) -> Result<(), ReceiverGone> {
        let Some(piece) = self.held.pop_front() else {
            return Ok(());
        };
        self.held_bytes -= piece.len();
        if self.keep.as_ref().is_some_and(|keep| !keep.offer(&piece)) {
            self.keep = None;
        }
        self.sender.send(piece).await
    }
}

/// The way into the store for a stream on its way to a client, who is never held up by it. Dropped
/// unfinished, nothing is kept.
#[derive(Debug)]
pub(super) struct Keep {
    pieces: mpsc::Sender<Bytes>,
    verified: oneshot::Sender<()>,
}

/// What is kept.
pub(super) struct Kept {
    pub(super) cid: BlobCid,
    pub(super) size: u64,
    pub(super) content_type: Option<String>,
}

impl Keep {
    /// Begins to keep a blob, if one of `slots` is free.
    pub(super) fn begin(store: StorePort, slots: &Arc<Semaphore>, kept: Kept) -> Option<Self> {
        let slot = Arc::clone(slots).try_acquire_owned().ok()?;
        let (pieces, waiting) = mpsc::channel(BEHIND_PIECES);
        let (verified, heard) = oneshot::channel();
        let (sender, body) = stream(Some(kept.size));
        let body = BlobBody::Stream(body);
        let work = async move {
            let put = put(store, kept.cid, body, kept.content_type);
            tokio::join!(forward(waiting, heard, sender), put);
            drop(slot);
        };
        tokio::spawn(work.in_current_span());
        Some(Self { pieces, verified })
    }

    /// Gives a piece, unless the store is too far behind or has refused.
    fn offer(&self, piece: &Bytes) -> bool {
        let taken = self.pieces.try_send(piece.clone());
        if let Err(error) = &taken {
            tracing::debug!(%error, "a blob that is fetched for a client is not kept");
        }
        taken.is_ok()
    }

    fn finish(self) {
        // The store may have refused by now.
        let _ = self.verified.send(());
    }
}

/// Hands the pieces to the store; the end only when the blob was verified.
async fn forward(
    mut waiting: mpsc::Receiver<Bytes>,
    verified: oneshot::Receiver<()>,
    mut sender: BodySender,
) {
    while let Some(piece) = waiting.recv().await {
        if sender.send(piece).await.is_err() {
            return;
        }
    }
    if verified.await.is_ok() {
        sender.finish();
    }
}

/// Keeps a blob of ours that was fetched, if that costs nobody anything: on the budget of repair.
pub(super) async fn put(
    store: StorePort,
    cid: BlobCid,
    body: BlobBody,
    content_type: Option<String>,
) {
    let new = NewBlob {
        body,
        expected: Some(cid),
        content_type,
        file_name: None,
        word: Word::Peer,
        durable: false,
        foreign: Foreign::Refuse,
    };
    match store.put(Share::Repair, new).await {
        Ok(_) => tracing::debug!(?cid, "a fetched blob is kept"),
        Err(error) => tracing::debug!(?cid, %error, "a fetched blob is not kept"),
    }
}
