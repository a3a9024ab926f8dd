//! A network of peers that do what a test says.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::proof::Proof;
use bytecave_core::{BlobCid, BlobRoot, PeerId};
use bytecave_messages::body::{BlobBody, BodyError, BodySender, ReceiverGone, stream};
use bytecave_messages::budget::{ActorName, Budget, Permit, Share};
use bytecave_messages::ports::SwarmPort;
use bytecave_messages::swarm::{
    Admission, AskSync, ChallengePeer, RefusalKind, RemoteBlob, ReplicaSent, RetrieveFromPeer,
    SendReplica, SetAdmission, SwarmError,
};
use bytecave_messages::sync::SyncAnswer;
use bytes::Bytes;

use super::peer;

/// What a peer does when it is asked for a blob.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Gives these bytes, after so long.
    Gives(Vec<u8>, Duration),
    /// Says that it does not have it.
    HasNot,
    /// Speaks no such protocol.
    SpeaksNot,
    /// Is busy.
    IsBusy,
    /// Never answers.
    Nothing,
    /// Gives a stream of this from the byte that was asked for, in pieces of so many bytes, each after
    /// so long, and breaks off behind the byte of this number, if there is one.
    Streams {
        bytes: Vec<u8>,
        piece: usize,
        pause: Duration,
        breaks_at: Option<u64>,
    },
    /// States this of a blob, whatever it has, and streams what it has from the byte that was asked
    /// for; then ends, or stalls.
    Claims {
        size: u64,
        blob_root: Option<BlobRoot>,
        bytes: Vec<u8>,
        stalls: bool,
    },
}

/// What a peer does when it is sent a replica.
#[derive(Debug, Clone)]
pub(crate) enum Takes {
    /// It keeps it.
    Keeps,
    /// It had it before.
    Had,
    /// It keeps it, after so long.
    KeepsAfter(Duration),
    /// It is busy so many times, and then keeps it.
    IsBusy(u32),
    /// It refuses unread.
    Refuses(RefusalKind),
    /// It speaks 1.0.0 only, and keeps it.
    KeepsUncounted,
    /// It cannot be reached.
    Away,
    /// It never answers.
    Nothing,
}

/// A network of peers that do what a test says.
#[derive(Clone)]
pub(crate) struct FakeSwarm {
    state: Arc<Mutex<Network>>,
    port: SwarmPort,
    budget: Budget,
}

#[derive(Default)]
struct Network {
    peers: BTreeMap<PeerId, Does>,
    asked: Vec<(PeerId, u64)>,
    /// Retrievals under way, and the most there were.
    under_way: usize,
    most: usize,
    admission: Option<Admission>,
    takes: BTreeMap<PeerId, Takes>,
    /// What all peers do with replicas of some blobs.
    takes_of: BTreeMap<BlobCid, Takes>,
    /// To whom a replica was offered.
    offered: Vec<(PeerId, BlobCid)>,
    /// Who keeps what of it.
    sent: Vec<(PeerId, Vec<u8>)>,
}

struct SwarmFake(Arc<Mutex<Network>>);

impl FakeSwarm {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(Network::default()));
        let address: Addr<SwarmFake> = SwarmFake(Arc::clone(&state)).start();
        let budget = Budget::new(ActorName::Swarm, 256);
        Self {
            state,
            port: SwarmPort::new(&address, budget.clone()),
            budget,
        }
    }

    pub(crate) fn port(&self) -> SwarmPort {
        self.port.clone()
    }

    /// Takes all permits, as other work would.
    pub(crate) fn occupy(&self) -> Vec<Permit> {
        std::iter::from_fn(|| self.budget.try_acquire(Share::Client, "other").ok()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set(&self, number: u8, does: Does) {
        self.lock().peers.insert(peer(number), does);
    }

    /// What a peer does with replicas; `Keeps` when nothing is said.
    pub(crate) fn set_takes(&self, number: u8, takes: Takes) {
        self.lock().takes.insert(peer(number), takes);
    }

    /// What all peers do with replicas of this blob, whatever else they do; `None` for nothing special.
    pub(crate) fn set_takes_of(&self, cid: BlobCid, takes: Option<Takes>) {
        let mut network = self.lock();
        network.takes_of.remove(&cid);
        network.takes_of.extend(takes.map(|takes| (cid, takes)));
    }

    /// To whom which replica was offered, in order.
    pub(crate) fn offered(&self) -> Vec<(PeerId, BlobCid)> {
        self.lock().offered.clone()
    }

    /// Who was sent which bytes, in order.
    pub(crate) fn sent(&self) -> Vec<(PeerId, Vec<u8>)> {
        self.lock().sent.clone()
    }

    pub(crate) fn asked(&self) -> Vec<PeerId> {
        self.lock().asked.iter().map(|(peer, _)| *peer).collect()
    }

    /// Who was asked for a blob from which byte on, in order.
    pub(crate) fn asked_from(&self) -> Vec<(PeerId, u64)> {
        self.lock().asked.clone()
    }

    /// Retrievals under way: asked and not answered, or streaming.
    pub(crate) fn under_way(&self) -> usize {
        self.lock().under_way
    }

    /// Permits that are out.
    pub(crate) fn depth(&self) -> usize {
        self.budget.snapshot().depth
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.lock().most
    }

    pub(crate) fn admission(&self) -> Option<Admission> {
        self.lock().admission.clone()
    }
}

impl Actor for SwarmFake {
    type Context = Context<Self>;
}

impl Handler<RetrieveFromPeer> for SwarmFake {
    type Result = ResponseFuture<Result<RemoteBlob, SwarmError>>;

    fn handle(&mut self, wanted: RetrieveFromPeer, _: &mut Self::Context) -> Self::Result {
        let (peer, from) = (wanted.peer, wanted.from);
        let does = {
            let mut network = self.0.lock().unwrap();
            network.asked.push((peer, from));
            network.under_way += 1;
            network.most = network.most.max(network.under_way);
            network.peers.get(&peer).cloned().unwrap_or(Does::HasNot)
        };
        let under_way = UnderWay(Arc::clone(&self.0), wanted.permit);
        let answer = answer(peer, from, does, under_way);
        let answer = wanted.cancelled.unless(answer);
        Box::pin(async move { answer.await.unwrap_or(Err(SwarmError::Unavailable)) })
    }
}

/// Counts a retrieval, and holds its permit, until it is dropped.
struct UnderWay(Arc<Mutex<Network>>, #[expect(dead_code)] Permit);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().unwrap().under_way -= 1;
    }
}

async fn answer(
    peer: PeerId,
    from: u64,
    does: Does,
    under_way: UnderWay,
) -> Result<RemoteBlob, SwarmError> {
    match does {
        Does::Gives(bytes, after) => {
            tokio::time::sleep(after).await;
            Ok(RemoteBlob {
                size: bytes.len() as u64,
                blob_root: None,
                content_type: Some("text/plain".to_owned()),
                offset: 0,
                body: BlobBody::Whole(Bytes::from(bytes)),
            })
        }
        Does::Streams {
            bytes,
            piece,
            pause,
            breaks_at,
        } => {
            let size = bytes.len() as u64;
            let sent = Sent {
                bytes,
                piece,
                pause,
                breaks_at,
                stalls: false,
            };
            Ok(streamed(size, None, from, sent, under_way))
        }
        Does::Claims {
            size,
            blob_root,
            bytes,
            stalls,
        } => {
            let sent = Sent {
                bytes,
                piece: 64 << 10,
                pause: Duration::ZERO,
                breaks_at: None,
                stalls,
            };
            Ok(streamed(size, blob_root, from, sent, under_way))
        }
        Does::HasNot => Err(SwarmError::NotFound { peer }),
        Does::SpeaksNot => Err(SwarmError::Unsupported {
            peer,
            protocol: "/bytecave/blob/1.0.0",
        }),
        Does::IsBusy => Err(SwarmError::Busy { peer }),
        Does::Nothing => std::future::pending().await,
    }
}

/// What a stream gives.
struct Sent {
    bytes: Vec<u8>,
    piece: usize,
    pause: Duration,
    breaks_at: Option<u64>,
    stalls: bool,
}

/// A stream from this byte on; dropped, it stops at once.
fn streamed(
    size: u64,
    blob_root: Option<BlobRoot>,
    from: u64,
    sent: Sent,
    under_way: UnderWay,
) -> RemoteBlob {
    let (mut sender, body) = stream(Some(size.saturating_sub(from)));
    tokio::spawn(async move {
        if send(&mut sender, from, &sent).await.is_ok() {
            match sent.breaks_at {
                Some(received) => sender.fail(BodyError::Stopped { received }),
                None => sender.finish(),
            }
        }
        drop(under_way);
    });
    RemoteBlob {
        size,
        blob_root,
        content_type: Some("text/plain".to_owned()),
        offset: from,
        body: BlobBody::Stream(body),
    }
}

async fn send(sender: &mut BodySender, from: u64, sent: &Sent) -> Result<(), ReceiverGone> {
    let end = sent.breaks_at.map(|at| usize::try_from(at).unwrap());
    let end = end.unwrap_or(sent.bytes.len());
    let mut at = usize::try_from(from).unwrap();
    while at < end {
        tokio::select! {
            () = sender.closed() => return Err(ReceiverGone),
            () = tokio::time::sleep(sent.pause) => {}
        }
        let to = (at + sent.piece).min(end);
        let piece = Bytes::copy_from_slice(&sent.bytes[at..to]);
        sender.send(piece).await?;
        at = to;
    }
    if sent.stalls {
        sender.closed().await;
        return Err(ReceiverGone);
    }
    Ok(())
}

impl Handler<SendReplica> for SwarmFake {
    type Result = ResponseFuture<Result<ReplicaSent, SwarmError>>;

    fn handle(&mut self, sent: SendReplica, _: &mut Self::Context) -> Self::Result {
        let peer = sent.peer;
        let state = Arc::clone(&self.0);
        let takes = {
            let mut network = state.lock().unwrap();
            network.offered.push((peer, sent.blob.cid));
            let takes = network.takes_of.get(&sent.blob.cid);
            let takes = takes.or(network.takes.get(&peer)).cloned();
            let takes = takes.unwrap_or(Takes::Keeps);
            if let Takes::IsBusy(times) = takes {
                let next = times
                    .checked_sub(2)
                    .map_or(Takes::Keeps, |_| Takes::IsBusy(times - 1));
                network.takes.insert(peer, next);
            }
            takes
        };
        Box::pin(async move {
            let kept = |already_stored, counted| {
                Ok(ReplicaSent {
                    already_stored,
                    counted,
                })
            };
            match takes {
                Takes::Keeps | Takes::KeepsUncounted | Takes::KeepsAfter(_) => {
                    if let Takes::KeepsAfter(after) = takes {
                        tokio::time::sleep(after).await;
                    }
                    let bytes = super::read_all(sent.body).await;
                    state.lock().unwrap().sent.push((peer, bytes));
                    drop(sent.permit);
                    kept(false, !matches!(takes, Takes::KeepsUncounted))
                }
                Takes::IsBusy(_) => Err(SwarmError::Busy { peer }),
                Takes::Had => kept(true, true),
                Takes::Refuses(kind) => Err(SwarmError::Refused {
                    peer,
                    kind,
                    reason: "for a test".to_owned(),
                }),
                Takes::Away => Err(SwarmError::Unreachable {
                    peer,
                    cause: "for a test".to_owned(),
                }),
                Takes::Nothing => sent
                    .cancelled
                    .unless(std::future::pending())
                    .await
                    .unwrap_or(Err(SwarmError::Unavailable)),
            }
        })
    }
}

impl Handler<ChallengePeer> for SwarmFake {
    type Result = ResponseFuture<Result<Proof, SwarmError>>;

    fn handle(&mut self, asked: ChallengePeer, _: &mut Self::Context) -> Self::Result {
        panic!("the replicator challenges nobody: {asked:?}");
    }
}

impl Handler<AskSync> for SwarmFake {
    type Result = ResponseFuture<Result<SyncAnswer, SwarmError>>;

    /// Nobody here compares.
    fn handle(&mut self, asked: AskSync, _: &mut Self::Context) -> Self::Result {
        let peer = asked.peer;
        Box::pin(async move {
            Err(SwarmError::Unsupported {
                peer,
                protocol: "/bytecave/sync/1.0.0",
            })
        })
    }
}

impl Handler<SetAdmission> for SwarmFake {
    type Result = ();

    fn handle(&mut self, SetAdmission(admission): SetAdmission, _: &mut Self::Context) {
        self.0.lock().unwrap().admission = Some(admission);
    }
}
