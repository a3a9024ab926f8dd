//! A network of peers that do what a test says.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::body::{BlobBody, BodyError, stream};
use bytecave_messages::budget::{ActorName, Budget, Permit, Share};
use bytecave_messages::ports::SwarmPort;
use bytecave_messages::swarm::{
    Admission, AskSync, RefusalKind, RemoteBlob, ReplicaSent, RetrieveFromPeer, SendReplica,
    SetAdmission, SwarmError,
};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};
use bytes::Bytes;
use futures_util::future::BoxFuture;

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
}

/// What a peer does when it is sent a replica.
#[derive(Debug, Clone)]
pub(crate) enum Takes {
    /// It keeps it.
    Keeps,
    /// It had it before.
    Had,
    /// It refuses unread.
    Refuses(RefusalKind),
    /// It speaks 1.0.0 only, and keeps it.
    KeepsUncounted,
    /// It cannot be reached.
    Away,
    /// It never answers.
    Nothing,
}

/// Answers a question of `sync`.
pub(crate) type Answers = Arc<
    dyn Fn(PeerId, SyncRequest) -> BoxFuture<'static, Result<SyncAnswer, SwarmError>> + Send + Sync,
>;

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
    asked: Vec<PeerId>,
    /// Retrievals under way, and the most there were.
    under_way: usize,
    most: usize,
    admission: Option<Admission>,
    takes: BTreeMap<PeerId, Takes>,
    /// To whom a replica was offered.
    offered: Vec<(PeerId, BlobCid)>,
    /// Who keeps what of it.
    sent: Vec<(PeerId, Vec<u8>)>,
    answers: Option<Answers>,
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

    /// To whom which replica was offered, in order.
    pub(crate) fn offered(&self) -> Vec<(PeerId, BlobCid)> {
        self.lock().offered.clone()
    }

    /// Who was sent which bytes, in order.
    pub(crate) fn sent(&self) -> Vec<(PeerId, Vec<u8>)> {
        self.lock().sent.clone()
    }

    /// Who answers questions about what peers hold.
    pub(crate) fn answer_with(&self, answers: Answers) {
        self.lock().answers = Some(answers);
    }

    pub(crate) fn asked(&self) -> Vec<PeerId> {
        self.lock().asked.clone()
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
        let peer = wanted.peer;
        let state = Arc::clone(&self.0);
        let does = {
            let mut network = state.lock().unwrap();
            network.asked.push(peer);
            network.under_way += 1;
            network.most = network.most.max(network.under_way);
            network.peers.get(&peer).cloned().unwrap_or(Does::HasNot)
        };
        Box::pin(async move {
            let answer = match does {
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
                } => Ok(streamed(bytes, wanted.from, piece, pause, breaks_at)),
                Does::HasNot => Err(SwarmError::NotFound { peer }),
                Does::SpeaksNot => Err(SwarmError::Unsupported {
                    peer,
                    protocol: "/bytecave/blob/1.0.0",
                }),
                Does::IsBusy => Err(SwarmError::Busy { peer }),
                Does::Nothing => std::future::pending().await,
            };
            state.lock().unwrap().under_way -= 1;
            drop(wanted.permit);
            answer
        })
    }
}

/// A stream of `bytes` from this byte on.
fn streamed(
    bytes: Vec<u8>,
    from: u64,
    piece: usize,
    pause: Duration,
    breaks_at: Option<u64>,
) -> RemoteBlob {
    let size = bytes.len() as u64;
    let (mut sender, body) = stream(Some(size - from));
    tokio::spawn(async move {
        let mut at = usize::try_from(from).unwrap();
        let end = breaks_at.map_or(bytes.len(), |at| usize::try_from(at).unwrap());
        while at < end {
            tokio::time::sleep(pause).await;
            let to = (at + piece).min(end);
            if sender
                .send(Bytes::copy_from_slice(&bytes[at..to]))
                .await
                .is_err()
            {
                return;
            }
            at = to;
        }
        if breaks_at.is_some() {
            sender.fail(BodyError::Stopped {
                received: at as u64,
            });
        } else {
            sender.finish();
        }
    });
    RemoteBlob {
        size,
        blob_root: None,
        content_type: Some("text/plain".to_owned()),
        offset: from,
        body: BlobBody::Stream(body),
    }
}

impl Handler<SendReplica> for SwarmFake {
    type Result = ResponseFuture<Result<ReplicaSent, SwarmError>>;

    fn handle(&mut self, sent: SendReplica, _: &mut Self::Context) -> Self::Result {
        let peer = sent.peer;
        let state = Arc::clone(&self.0);
        let takes = {
            let mut network = state.lock().unwrap();
            network.offered.push((peer, sent.blob.cid));
            network.takes.get(&peer).cloned().unwrap_or(Takes::Keeps)
        };
        Box::pin(async move {
            let kept = |already_stored, counted| {
                Ok(ReplicaSent {
                    already_stored,
                    counted,
                })
            };
            match takes {
                Takes::Keeps | Takes::KeepsUncounted => {
                    let bytes = super::read_all(sent.body).await;
                    state.lock().unwrap().sent.push((peer, bytes));
                    drop(sent.permit);
                    kept(false, matches!(takes, Takes::Keeps))
                }
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

impl Handler<AskSync> for SwarmFake {
    type Result = ResponseFuture<Result<SyncAnswer, SwarmError>>;

    fn handle(&mut self, asked: AskSync, _: &mut Self::Context) -> Self::Result {
        let peer = asked.peer;
        let answers = self.0.lock().unwrap().answers.clone();
        Box::pin(async move {
            match answers {
                Some(answers) => answers(peer, asked.request).await,
                None => Err(SwarmError::Unsupported {
                    peer,
                    protocol: "/bytecave/sync/1.0.0",
                }),
            }
        })
    }
}

impl Handler<SetAdmission> for SwarmFake {
    type Result = ();

    fn handle(&mut self, SetAdmission(admission): SetAdmission, _: &mut Self::Context) {
        self.0.lock().unwrap().admission = Some(admission);
    }
}
