//! A stream from a peer into the store: paced, watched, and gone on with where it broke.

use std::time::Duration;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::body::{BlobBody, BodyError, BodySender, BodyStream};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::SwarmPort;
use bytes::Bytes;
use tokio::time::Instant;

use super::HEAD_TIME;
use crate::reconcile::pace::Pace;

/// Waiting for the peer in which it has to send something worth while: a peer that trickles would keep
/// one of the few repairs busy for ever.
const STALL: Duration = Duration::from_secs(30);
const STALL_LEAST_BYTES: u64 = 64 << 10;
/// A stream that broke is gone on with if it brought this much since the last time.
const RESUME_LEAST_BYTES: u64 = 1 << 20;

/// Where a stream comes from and how fast.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    pub(super) swarm: &'a SwarmPort,
    pub(super) pace: &'a Pace,
    pub(super) source: PeerId,
    pub(super) cid: BlobCid,
    /// As the peer stated it.
    pub(super) size: u64,
}

/// How much came while the peer was waited for.
#[derive(Debug, Default)]
struct Watch {
    waited: Duration,
    bytes: u64,
}

impl Feed<'_> {
    /// Hands all pieces on, until the end or until nobody wants them. All come from one peer, so when
    /// the bytes turn out to be wrong, it is known whose fault that is.
    pub(super) async fn run(&self, mut pieces: BodyStream, mut sender: BodySender) {
        let mut watch = Watch::default();
        let (mut received, mut resumed_at) = (0_u64, 0);
        loop {
            let error = match watch.next(&mut pieces, received).await {
                None => return sender.finish(),
                Some(Ok(piece)) => {
                    let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    self.pace.spend(len).await;
                    received += len;
                    if sender.send(piece).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Err(error)) => error,
            };
            let resumed = if received - resumed_at < RESUME_LEAST_BYTES {
                None
            } else {
                resumed_at = received;
                self.resume(received).await
            };
            match resumed {
                Some(rest) => pieces = rest,
                None => return sender.fail(error),
            }
        }
    }

    /// The rest of the same blob of the same peer.
    async fn resume(&self, from: u64) -> Option<BodyStream> {
        let asked = self
            .swarm
            .retrieve(Share::Repair, self.source, self.cid, from);
        let remote = tokio::time::timeout(HEAD_TIME, asked).await.ok()?.ok()?;
        match remote.body {
            BlobBody::Stream(rest) if remote.offset == from && remote.size == self.size => {
                Some(rest)
            }
            _ => None,
        }
    }
}

impl Watch {
    async fn next(
        &mut self,
        pieces: &mut BodyStream,
        received: u64,
    ) -> Option<Result<Bytes, BodyError>> {
        let began = Instant::now();
        let left = STALL.saturating_sub(self.waited);
        let Ok(next) = tokio::time::timeout(left, pieces.next()).await else {
            return Some(Err(BodyError::TooSlow { received }));
        };
        self.waited += began.elapsed();
        if let Some(Ok(piece)) = &next {
            self.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
        if self.bytes >= STALL_LEAST_BYTES {
            *self = Self::default();
        }
        next
    }
}
