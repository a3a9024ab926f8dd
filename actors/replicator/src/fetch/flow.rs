//! A large blob on its way: from one peer, and from the next when that one breaks off.
//!
//! The bytes of all peers are hashed as one, since the SHA-256 of the whole is the only thing that
//! ties bytes to a CID. The size that the first peer stated is the one that the receiver was told, so
//! a peer that states another cannot continue; a size that was a lie ends in a stream that fails,
//! never in a blob that is complete and wrong.

use bytecave_core::{Digest, PeerId};
use bytecave_messages::body::{BodyError, ReceiverGone};
use bytecave_messages::replicator::FetchError;
use ring::digest::{Context, SHA256};

use super::Start;
use super::ask::{Asker, END_WITHIN, Given, Stated};
use super::out::Out;
use super::source::{Broken, Source, broken};
use crate::conduct::Deed;

/// A peer that breaks off after it gave as much may be asked once more, when the others have been.
const AGAIN_FROM_BYTES: u64 = 1 << 20;

/// A large blob on its way.
pub(super) struct Flow {
    asker: Asker,
    source: Source,
    stated: Stated,
    hash: Context,
    /// Bytes that were hashed, and given on but for those withheld.
    reached: u64,
    /// Whose bytes are among them, unproved.
    suspects: Vec<PeerId>,
}

/// Why a blob did not arrive.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody wants it any more.
    Unwanted,
    /// The bytes are those of another blob.
    Wrong,
    /// No peer goes on with it.
    Lost(FetchError),
}

/// Why a peer's stream is left.
enum Left {
    Unwanted,
    Broken(Broken),
}

impl From<ReceiverGone> for Ended {
    fn from(_: ReceiverGone) -> Self {
        Self::Unwanted
    }
}

impl Flow {
    pub(super) fn new(start: Start) -> Self {
        let Start { asker, opened } = start;
        Self {
            asker,
            source: opened.source,
            stated: opened.stated,
            hash: Context::new(&SHA256),
            reached: 0,
            suspects: Vec::new(),
        }
    }

    /// Brings the blob to its receiver. What is left is who else may be asked for it.
    pub(super) async fn run(mut self, mut out: Out) -> (Asker, Result<(), Ended>) {
        let poured = self.pour(&mut out).await;
        let ended = match poured {
            Ok(()) => out.finish().await.map_err(Ended::from),
            Err(ended) => {
                match &ended {
                    Ended::Unwanted => {}
                    Ended::Wrong => out.fail(BodyError::Damaged),
                    Ended::Lost(_) => out.fail(BodyError::Stopped {
                        received: self.reached,
                    }),
                }
                Err(ended)
            }
        };
        (self.asker, ended)
    }

    async fn pour(&mut self, out: &mut Out) -> Result<(), Ended> {
        loop {
            match self.drain(out).await {
                Ok(()) => return self.judge().await,
                Err(Left::Unwanted) => return Err(Ended::Unwanted),
                Err(Left::Broken(Broken { deed, why })) => {
                    let (peer, cid, reached) = (self.source.peer, self.asker.cid(), self.reached);
                    tracing::info!(%peer, ?cid, reached, why, "a peer does not go on with a blob; the next one is asked");
                    self.asker.failed(&peer, deed);
                    if deed == Deed::Silent && self.source.given >= AGAIN_FROM_BYTES {
                        self.asker.again(peer);
                    }
                    self.source = self.next_source(out).await?;
                }
            }
        }
    }

    /// Takes what the peer gives, up to the end of the blob.
    async fn drain(&mut self, out: &mut Out) -> Result<(), Left> {
        let stall = self.asker.patience().stall;
        while self.reached < self.stated.size {
            let piece = tokio::select! {
                biased;
                () = out.closed() => return Err(Left::Unwanted),
                piece = self.source.next(stall) => piece.map_err(Left::Broken)?,
            };
            let len = piece.len() as u64;
            if len > self.stated.size - self.reached {
                let more = broken(Deed::Lied, "it gives more bytes than it states");
                return Err(Left::Broken(more));
            }
            let peer = self.source.peer;
            if !self.source.proved && !self.suspects.contains(&peer) {
                self.suspects.push(peer);
            }
            self.hash.update(&piece);
            self.reached += len;
            let pushed = out.push(piece).await;
            pushed.map_err(|ReceiverGone| Left::Unwanted)?;
        }
        Ok(())
    }

    /// Whoever goes on from the byte that was reached.
    async fn next_source(&mut self, out: &Out) -> Result<Source, Ended> {
        let found = tokio::select! {
            biased;
            () = out.closed() => return Err(Ended::Unwanted),
            found = self.asker.find(self.reached, Some(&self.stated)) => found,
        };
        match found.map_err(Ended::Lost)? {
            Given::Large(opened) => Ok(opened.source),
            Given::Here(peer, blob) if blob.bytes.len() as u64 == self.stated.size => {
                Ok(Source::here(peer, blob, self.reached))
            }
            // What is here is verified, so it was the first that stated another size.
            Given::Here(..) => {
                self.asker.note(&self.stated.by, Deed::Lied);
                self.asker.hear_dissenters();
                Err(Ended::Wrong)
            }
        }
    }

    /// All bytes are here: whether they are the ones that were asked for.
    async fn judge(&mut self) -> Result<(), Ended> {
        let cid = self.asker.cid();
        if Digest::finish(self.hash.clone()) == cid.digest() {
            if !self.source.proved {
                let ends = self.source.ends(END_WITHIN).await;
                let deed = if ends { Deed::Served } else { Deed::Lied };
                self.asker.note(&self.source.peer, deed);
            }
            self.asker.blame_dissenters();
            tracing::debug!(?cid, bytes = self.reached, "blob fetched");
            return Ok(());
        }
        self.asker.hear_dissenters();
        if let [liar] = self.suspects[..] {
            self.asker.failed(&liar, Deed::Lied);
            return Err(Ended::Wrong);
        }
        // Nobody can say which of them it was.
        for suspect in &self.suspects {
            self.asker.failed(suspect, Deed::Silent);
        }
        let peers: Vec<_> = self.suspects.iter().map(ToString::to_string).collect();
        tracing::warn!(
            ?cid,
            ?peers,
            "one of these peers gave other bytes than were asked for"
        );
        Err(Ended::Wrong)
    }
}
