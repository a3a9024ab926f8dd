//! Questions to peers: who they are, and whom a relay knows. Asked by tasks of their own, of which
//! there are only so many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytecave_messages::swarm::{ConnectionKind, PeerInfo, SwarmError};
use libp2p::PeerId;
use tokio::task::JoinSet;

use super::{EventLoop, jitter, now_ms};
use crate::ids;
use crate::members::Teller;
use crate::wire::client::{Client, RelayedPeer};
use crate::wire::v1::{Kind, RELAY_PEERS};
use crate::wire::v2;

/// Questions under way at once.
const AT_ONCE: usize = 16;
/// Time between two questions to a peer who it is: whether it takes new blobs may change.
const INFO_EVERY: Duration = Duration::from_mins(10);
/// The same of a peer that takes copies in our own form: whether it does may change any time, and
/// copies go elsewhere then. Too short: a question and an answer for each connected peer that often.
const INFO_OF_HOLDERS_EVERY: Duration = Duration::from_mins(2);
/// Time between two questions to a relay whom it knows.
const RELAY_PEERS_EVERY: Duration = Duration::from_mins(1);
/// Pause after a question that was not answered.
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// Who is to be asked when, and who is being asked.
#[derive(Debug)]
pub(super) struct Questions {
    client: Client,
    /// Connected peers, and when each question is due.
    due: HashMap<PeerId, Due>,
    asked: JoinSet<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    info: Instant,
    relay_peers: Instant,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Answer {
    /// Who a peer is.
    Info(bytecave_core::PeerId, Result<PeerInfo, SwarmError>),
    /// Whom a relay knows.
    RelayPeers(bytecave_core::PeerId, Result<Vec<RelayedPeer>, SwarmError>),
}

impl Questions {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            due: HashMap::new(),
            asked: JoinSet::new(),
        }
    }

    /// A connected peer said what it speaks: from now on it can be asked. No more peers than there
    /// may be connections.
    pub(super) fn identified(&mut self, peer: PeerId) {
        let now = Instant::now();
        self.due.entry(peer).or_insert(Due {
            info: now,
            relay_peers: now,
        });
    }

    /// The peer is gone.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.due.remove(peer);
    }

    /// The next answer; none while nothing is asked.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        loop {
            match self.asked.join_next().await? {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::error!(%error, "a question to a peer panicked"),
            }
        }
    }
}

impl EventLoop {
    /// Asks those whose turn it is. Only over direct connections: relayed ones carry no streams of
    /// ours.
    pub(super) fn ask_peers(&mut self, now: Instant) {
        let members = self.members.lock();
        let Questions { client, due, asked } = &mut self.questions;
        for (peer, due) in due.iter_mut() {
            if asked.len() >= AT_ONCE {
                return;
            }
            let Some(member) = ids::from_wire(peer) else {
                continue;
            };
            if members.connection(&member) != Some(ConnectionKind::Direct) {
                continue;
            }
            if due.info <= now && members.speaks(&member, Kind::Info.name()) == Some(true) {
                let every = match members.speaks(&member, v2::Kind::Replicate.name()) {
                    Some(true) => INFO_OF_HOLDERS_EVERY,
                    Some(false) | None => INFO_EVERY,
                };
                due.info = now + every.mul_f64(0.9 + jitter() / 5.0);
                let client = client.clone();
                asked.spawn(async move { Answer::Info(member, client.info(member).await) });
            }
            if due.relay_peers <= now && members.speaks(&member, RELAY_PEERS.as_ref()) == Some(true)
            {
                due.relay_peers = now + RELAY_PEERS_EVERY;
                let client = client.clone();
                asked.spawn(
                    async move { Answer::RelayPeers(member, client.relay_peers(member).await) },
                );
            }
        }
    }

    pub(super) fn on_answer(&mut self, answer: Answer) {
        let now = now_ms();
        match answer {
            Answer::Info(member, Ok(info)) => {
                self.members.lock().info_received(member, info, now);
                self.keep_changed = true;
                self.news = true;
            }
            Answer::RelayPeers(relay, Ok(peers)) => {
                let mut members = self.members.lock();
                for peer in peers {
                    let addresses = peer.multiaddrs.iter();
                    members.told(peer.peer_id, addresses, Teller::Peer(relay), now);
                }
            }
            Answer::Info(member, Err(error)) => {
                tracing::debug!(peer = %member, %error, "no info");
                if let Some(due) = self.questions.due.get_mut(&ids::to_wire(&member)) {
                    due.info = Instant::now() + AFTER_FAILURE;
                }
            }
            Answer::RelayPeers(relay, Err(error)) => {
                tracing::debug!(%relay, %error, "no list of peers from the relay");
            }
        }
    }
}
