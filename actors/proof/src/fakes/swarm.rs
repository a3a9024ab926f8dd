//! A network of peers that do what a test says when they are challenged.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use bytecave_core::proof::{Challenge, Proof, Statement};
use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::ports::SwarmPort;
use bytecave_messages::swarm::{
    AskSync, ChallengePeer, RemoteBlob, ReplicaSent, RetrieveFromPeer, SendReplica, SetAdmission,
    SwarmError,
};
use bytecave_messages::sync::SyncAnswer;
use tokio::time::Instant;

use super::{identity, peer};

/// What a peer does when it is challenged.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// It proves what it has.
    Proves,
    /// It, or the network, says this.
    Says(SwarmError),
    /// It proves what it has to another challenge.
    Answers(Challenge),
    /// It passes on what the peer of this number would answer.
    PassesOn(u8),
    /// It lets its time pass.
    Silent,
    /// Nothing comes, not even from the network.
    Hangs,
}

/// A challenge as it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) peer: PeerId,
    pub(crate) challenge: Challenge,
    pub(crate) patience: Duration,
    pub(crate) at: Instant,
}

/// A network of peers that do what a test says.
#[derive(Clone)]
pub(crate) struct FakeSwarm {
    state: Arc<Mutex<Network>>,
    port: SwarmPort,
}

#[derive(Default)]
struct Network {
    does: BTreeMap<PeerId, Does>,
    /// What all peers have.
    contents: BTreeMap<BlobCid, Vec<u8>>,
    sent: Vec<Sent>,
    under_way: usize,
    most: usize,
}

struct SwarmFake(Arc<Mutex<Network>>);

impl FakeSwarm {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(Network::default()));
        let actor = SwarmFake(Arc::clone(&state));
        let port = SwarmPort::new(&actor.start(), Budget::new(ActorName::Swarm, 256));
        Self { state, port }
    }

    pub(crate) fn port(&self) -> SwarmPort {
        self.port.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.state.lock().unwrap()
    }

    /// What a peer does; nothing said, it proves.
    pub(crate) fn set(&self, number: u8, does: Does) {
        self.lock().does.insert(peer(number), does);
    }

    /// All peers have this.
    pub(crate) fn seed(&self, content: &[u8]) {
        let cid = BlobCid::of(content);
        self.lock().contents.insert(cid, content.to_vec());
    }

    /// What was sent.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    /// The most that were under way at a time.
    pub(crate) fn most(&self) -> usize {
        self.lock().most
    }
}

impl Network {
    fn prove(&self, signer: u8, challenge: &Challenge) -> Result<Proof, SwarmError> {
        let peer = peer(signer);
        let content = self.contents.get(&challenge.cid);
        let content = content.ok_or(SwarmError::NotFound { peer })?;
        let statement = Statement::from_content(challenge, content).unwrap();
        Ok(Proof::sign(&identity(signer), "peer", 0, statement).unwrap())
    }
}

impl Actor for SwarmFake {
    type Context = Context<Self>;
}

/// The number of a peer of a test.
fn number(of: &PeerId) -> u8 {
    (0..=u8::MAX).find(|number| peer(*number) == *of).unwrap()
}

impl Handler<ChallengePeer> for SwarmFake {
    type Result = ResponseFuture<Result<Proof, SwarmError>>;

    fn handle(&mut self, asked: ChallengePeer, _: &mut Self::Context) -> Self::Result {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            let ChallengePeer {
                peer,
                challenge,
                patience,
                permit: _permit,
            } = asked;
            let does = {
                let mut network = state.lock().unwrap();
                network.sent.push(Sent {
                    peer,
                    challenge,
                    patience,
                    at: Instant::now(),
                });
                network.under_way += 1;
                network.most = network.most.max(network.under_way);
                network.does.get(&peer).cloned().unwrap_or(Does::Proves)
            };
            tokio::time::sleep(Duration::from_millis(10)).await;
            let prove = |signer, challenge: &Challenge| {
                let network = state.lock().unwrap();
                network.prove(signer, challenge)
            };
            let answer = match does {
                Does::Proves => prove(number(&peer), &challenge),
                Does::Says(error) => Err(error),
                Does::Answers(other) => prove(number(&peer), &other),
                Does::PassesOn(signer) => prove(signer, &challenge),
                Does::Silent => {
                    tokio::time::sleep(patience).await;
                    let after = patience;
                    Err(SwarmError::TimedOut { peer, after })
                }
                Does::Hangs => std::future::pending().await,
            };
            state.lock().unwrap().under_way -= 1;
            answer
        })
    }
}

macro_rules! never_asked {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for SwarmFake {
            type Result = $reply;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                panic!("the prover asks for no {message:?}");
            }
        }
    )+};
}
never_asked! {
    RetrieveFromPeer -> ResponseFuture<Result<RemoteBlob, SwarmError>>;
    SendReplica -> ResponseFuture<Result<ReplicaSent, SwarmError>>;
    AskSync -> ResponseFuture<Result<SyncAnswer, SwarmError>>;
    SetAdmission -> ();
}
