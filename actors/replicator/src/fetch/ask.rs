//! Asking one peer after the other for a blob, from some byte on.
//!
//! The next peer is asked when the one before fails or lets a moment pass, never more than
//! [`AT_ONCE`] at once, and all under one deadline. What is small comes whole and verified; of what is
//! large comes an open stream, whose bytes may be any.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, BlobRoot, PeerId};
use bytecave_messages::body::{BlobBody, BodyError, BodyStream};
use bytecave_messages::budget::{Full, Share};
use bytecave_messages::ports::SwarmPort;
use bytecave_messages::replicator::FetchError;
use bytecave_messages::swarm::{RefusalKind, RemoteBlob, SwarmError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};

use super::Patience;
use super::source::Source;
use crate::candidates::ASKED_AT_MOST;
use crate::conduct::{Conduct, Deed};
use crate::{media_type, verify};

/// Peers asked at once for one blob. More would be the same bytes several times over.
pub(super) const AT_ONCE: usize = 3;
/// Up to this size a blob waits in memory until it is verified.
pub(super) const SMALL_BYTES: u64 = 4 << 20;
/// Largest blob that the 1.0.0 protocols carry, and so the most that is read to be thrown away when a
/// peer begins before the byte that was asked for.
const FIRST_VERSION_BYTES: u64 = 32 << 20;
/// Who states more than this states nonsense: no node takes larger blobs unless it is told to.
const BLOB_BYTES: u64 = 16 << 30;

/// How long the end of a stream is waited for, all of whose bytes are here.
pub(super) const END_WITHIN: Duration = Duration::from_secs(1);

/// The peers, and how they behaved.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) swarm: SwarmPort,
    pub(super) conduct: Conduct,
    pub(super) patience: Patience,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Given {
    /// All of it, verified, from this peer.
    Here(PeerId, Blob),
    /// A stream of it, from the byte that was asked for.
    Large(Opened),
}

/// A blob that was verified.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) bytes: Bytes,
    /// As a peer stated it.
    pub(super) content_type: Option<String>,
}

/// A stream of a blob, unverified.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stated: Stated,
    pub(super) content_type: Option<String>,
    pub(super) source: Source,
}

/// What a peer states of a blob.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stated {
    pub(super) by: PeerId,
    pub(super) size: u64,
    pub(super) blob_root: Option<BlobRoot>,
}

/// Asks for one blob. Each ask counts, so that their number is bounded whatever peers answer.
#[derive(Debug)]
pub(super) struct Asker {
    peers: Arc<Peers>,
    cid: BlobCid,
    waiting: VecDeque<PeerId>,
    asks_left: usize,
    asked: usize,
    silent: usize,
    /// Who stated another size than the peer whose stream was begun.
    dissenters: Vec<PeerId>,
}

/// What came of asking one peer.
enum Answered {
    Given(Given),
    Not(Not),
    /// This node has no room for its answer.
    Full(Full),
    /// Nobody can be asked: the network is gone.
    Gone,
}

/// Why a peer does not give the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Not {
    /// It does not have it.
    There,
    /// It does not speak the protocol, so it was not really asked.
    Asked,
    /// It gave no answer that is of use, for which it is not to blame.
    Now,
    /// It let its time pass, or broke off.
    InTime,
    /// What it gave cannot be the blob.
    True(&'static str),
}

impl Asker {
    /// Of these peers, best first.
    pub(super) fn new(peers: Arc<Peers>, cid: BlobCid, candidates: Vec<PeerId>) -> Self {
        Self {
            peers,
            cid,
            waiting: candidates.into(),
            asks_left: ASKED_AT_MOST,
            asked: 0,
            silent: 0,
            dissenters: Vec::new(),
        }
    }

    pub(super) fn cid(&self) -> BlobCid {
        self.cid
    }

    pub(super) fn patience(&self) -> Patience {
        self.peers.patience
    }

    /// A peer did this.
    pub(super) fn note(&self, peer: &PeerId, deed: Deed) {
        self.peers.conduct.note(peer, deed);
    }

    /// A peer whose stream was begun is of no use after all.
    pub(super) fn failed(&mut self, peer: &PeerId, deed: Deed) {
        self.silent += 1;
        self.note(peer, deed);
    }

    /// A peer broke off after it had given much: it may go on later.
    pub(super) fn again(&mut self, peer: PeerId) {
        self.waiting.push_back(peer);
    }

    /// Who stated another size than was proved by now: nobody does that by accident.
    pub(super) fn blame_dissenters(&mut self) {
        for peer in std::mem::take(&mut self.dissenters) {
            self.note(&peer, Deed::Lied);
        }
    }

    /// Who stated another size than one that was wrong may be asked after all.
    pub(super) fn hear_dissenters(&mut self) {
        self.waiting.extend(self.dissenters.drain(..));
    }

    /// The next peer that gives the blob from this byte on. Once a stream was begun, `begun` is what
    /// was stated of it: another peer can continue it only if it states the same.
    pub(super) async fn find(
        &mut self,
        from: u64,
        begun: Option<&Stated>,
    ) -> Result<Given, FetchError> {
        let Patience {
            deadline, hedge, ..
        } = self.patience();
        let until = Instant::now() + deadline;
        let mut under_way = FuturesUnordered::new();
        // Who is asked, and since when.
        let mut pending: Vec<(PeerId, Instant)> = Vec::with_capacity(AT_ONCE);
        let mut no_room = false;
        let mut next_at = Instant::now();
        loop {
            let waits = !self.waiting.is_empty() && self.asks_left > 0;
            let more = waits && under_way.len() < AT_ONCE && !no_room;
            if !more && under_way.is_empty() {
                break;
            }
            tokio::select! {
                // An answer that is there counts before another peer is asked.
                biased;
                Some((peer, answered)) = under_way.next() => {
                    pending.retain(|(asked, _)| *asked != peer);
                    next_at = Instant::now();
                    no_room = false;
                    match answered {
                        Answered::Given(given) => {
                            if let Some(given) = self.fitting(peer, given, begun) {
                                // They were only slow, and may be needed later.
                                self.waiting.extend(pending.iter().map(|(peer, _)| *peer));
                                return Ok(given);
                            }
                        }
                        Answered::Not(not) => self.has_not(peer, not),
                        Answered::Full(full) => {
                            self.put_back(peer);
                            if !under_way.is_empty() {
                                // Those that end make room.
                                no_room = true;
                            } else if begun.is_some() {
                                next_at += full.retry_after;
                            } else {
                                return Err(FetchError::Full(full));
                            }
                        }
                        Answered::Gone => return Err(FetchError::Unavailable),
                    }
                }
                () = sleep_until(until) => {
                    self.time_is_up(&pending);
                    break;
                }
                () = due(next_at), if more => {
                    if let Some(peer) = self.waiting.pop_front() {
                        self.asked += 1;
                        self.asks_left -= 1;
                        pending.push((peer, Instant::now()));
                        under_way.push(ask(Arc::clone(&self.peers), peer, self.cid, from));
                        next_at = Instant::now() + hedge;
                    }
                }
            }
        }
        Err(self.nobody())
    }

    /// Whether what was given can be used, beside what was begun.
    fn fitting(&mut self, peer: PeerId, given: Given, begun: Option<&Stated>) -> Option<Given> {
        let opened = match &given {
            Given::Large(opened) => opened,
            Given::Here(_, blob) => {
                tracing::debug!(%peer, cid = ?self.cid, bytes = blob.bytes.len(), "blob fetched");
                self.note(&peer, Deed::Served);
                return Some(given);
            }
        };
        let Some(begun) = begun else {
            return Some(given);
        };
        let stated = opened.stated;
        let other_root = stated
            .blob_root
            .zip(begun.blob_root)
            .is_some_and(|(one, other)| one != other);
        if stated.size == begun.size && !other_root {
            return Some(given);
        }
        let (first, size, instead_of) = (begun.by, stated.size, begun.size);
        tracing::warn!(%peer, %first, cid = ?self.cid, size, instead_of, "two peers state different things of a blob");
        if stated.size != begun.size {
            self.dissenters.push(peer);
        }
        self.silent += 1;
        None
    }

    fn has_not(&mut self, peer: PeerId, not: Not) {
        match not {
            Not::There => {}
            Not::Asked => self.asked -= 1,
            Not::Now | Not::InTime | Not::True(_) => self.silent += 1,
        }
        match not {
            Not::True(why) => {
                tracing::warn!(%peer, cid = ?self.cid, why, "a peer gave what cannot be the blob; the next one is asked");
                self.note(&peer, Deed::Lied);
            }
            Not::InTime => self.note(&peer, Deed::Silent),
            Not::There | Not::Asked | Not::Now => {}
        }
    }

    /// It was not asked after all, and is the next.
    fn put_back(&mut self, peer: PeerId) {
        self.waiting.push_front(peer);
        self.asked -= 1;
        self.asks_left += 1;
    }

    fn time_is_up(&mut self, pending: &[(PeerId, Instant)]) {
        self.silent += pending.len();
        for (peer, since) in pending {
            // Whoever was asked in the last moment is not to blame.
            if since.elapsed() >= self.patience().stall {
                self.note(peer, Deed::Silent);
            }
        }
    }

    fn nobody(&self) -> FetchError {
        let (cid, asked, silent) = (self.cid, self.asked, self.silent);
        if silent == 0 {
            return FetchError::NotFound { cid, asked };
        }
        let after = self.patience().deadline;
        FetchError::TimedOut {
            cid,
            asked,
            silent,
            after,
        }
    }
}

/// Waits until then, and not at all when that is past: a timer takes a millisecond even then.
async fn due(then: Instant) {
    if then > Instant::now() {
        sleep_until(then).await;
    }
}

async fn ask(peers: Arc<Peers>, peer: PeerId, cid: BlobCid, from: u64) -> (PeerId, Answered) {
    let answer = peers.swarm.retrieve(Share::Client, peer, cid, from).await;
    let answered = match answer {
        Ok(remote) => open(peer, cid, from, remote)
            .await
            .map_or_else(Answered::Not, Answered::Given),
        Err(SwarmError::Full(full)) => Answered::Full(full),
        Err(SwarmError::Unavailable) => Answered::Gone,
        Err(error) => {
            tracing::debug!(%error, ?cid, "a peer did not give a blob");
            Answered::Not(why_not(&error))
        }
    };
    (peer, answered)
}

fn why_not(error: &SwarmError) -> Not {
    match error {
        SwarmError::NotFound { .. } => Not::There,
        SwarmError::Refused { kind, .. } => match kind {
            RefusalKind::Busy | RefusalKind::Unavailable => Not::Now,
            _ => Not::There,
        },
        SwarmError::Unsupported { .. } => Not::Asked,
        // A peer that is away, or from which this node is cut off, has done no wrong.
        SwarmError::Busy { .. }
        | SwarmError::Unreachable { .. }
        | SwarmError::Full(_)
        | SwarmError::Unavailable => Not::Now,
        SwarmError::TimedOut { .. } | SwarmError::BadAnswer { .. } | SwarmError::Body(_) => {
            Not::InTime
        }
    }
}

/// Looks at an answer: what is small is read and verified.
async fn open(peer: PeerId, cid: BlobCid, from: u64, remote: RemoteBlob) -> Result<Given, Not> {
    let RemoteBlob {
        size,
        blob_root,
        content_type,
        offset,
        body,
    } = remote;
    if size > BLOB_BYTES {
        return Err(Not::True("it states more bytes than any blob has"));
    }
    let content_type = media_type::believed(content_type);
    let here = match body {
        BlobBody::Whole(bytes) if offset == 0 => {
            let len = bytes.len() as u64;
            if len != size || len > FIRST_VERSION_BYTES {
                return Err(Not::True("it gives another number of bytes than it states"));
            }
            bytes
        }
        BlobBody::Stream(stream) if from == 0 && offset == 0 && size <= SMALL_BYTES => {
            collect(stream, size).await?
        }
        body => {
            let skip = from.checked_sub(offset);
            let skip = skip
                .filter(|skip| *skip <= FIRST_VERSION_BYTES)
                .ok_or(Not::True("it begins elsewhere than it was asked to"))?;
            return Ok(Given::Large(Opened {
                stated: Stated {
                    by: peer,
                    size,
                    blob_root,
                },
                content_type,
                source: Source::new(peer, skip, body),
            }));
        }
    };
    if verify::digest(&here).await != cid.digest() {
        return Err(Not::True("its bytes are others than were asked for"));
    }
    let blob = Blob {
        bytes: here,
        content_type,
    };
    Ok(Given::Here(peer, blob))
}

/// The bytes of a small blob, never more than stated.
async fn collect(mut stream: BodyStream, size: u64) -> Result<Bytes, Not> {
    let mut all = BytesMut::new();
    let more = || Not::True("it gives more bytes than it states");
    loop {
        let left = size - all.len() as u64;
        // Who has given all is not waited for long: the bytes prove themselves.
        let next = if left == 0 {
            timeout(END_WITHIN, stream.next()).await.unwrap_or(None)
        } else {
            stream.next().await
        };
        match next {
            Some(Ok(piece)) if piece.len() as u64 <= left => all.extend_from_slice(&piece),
            Some(Ok(_) | Err(BodyError::Malformed { .. })) => return Err(more()),
            None if left > 0 => return Err(Not::True("it gives fewer bytes than it states")),
            Some(Err(_)) if left > 0 => return Err(Not::InTime),
            Some(Err(_)) | None => return Ok(all.freeze()),
        }
    }
}
