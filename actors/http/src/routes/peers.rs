//! `/peers`: the network as this node sees it, from the latest snapshot alone.

use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_messages::swarm::{LinkView, PeerView, Reachability, RelayView, SwarmSnapshot};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NO_STORE, ProblemDocument, query};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// Most peers in an answer, and how many there are when the client names no number.
const LIMIT: usize = 1000;

/// The network as this node sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeersAnswer {
    /// Whether networking is switched on.
    enabled: bool,
    /// Addresses at which other nodes reach this one.
    multiaddrs: Vec<String>,
    /// Peers connected now.
    connected: u64,
    /// Peers of the asked state that are known, also those behind the limit.
    total: u64,
    /// Connected ones first: `peerId`, `connection` (`direct` or `relayed`, absent when there is none), `multiaddrs`,
    /// `agent`, `rttMs`, `lastSeenMs`, `firstSeenMs`, `live`, `leftMs` (when it said goodbye), and what it said of itself: `announced` to all, `info` to this node.
    #[schema(value_type = Vec<Object>)]
    peers: Vec<PeerView>,
    /// Each configured relay: `multiaddr`, `state` (`connecting`, `reserved`, `failed` with a `reason`, or `off`).
    #[schema(value_type = Vec<Object>)]
    relays: Vec<RelayView>,
    /// Each storage link: `url`, `registered`, and the latest `problem` while it is not.
    #[schema(value_type = Vec<Object>)]
    links: Vec<LinkView>,
    /// `verdict`: `unknown`, `direct`, `relayed` (with `holePunching`: `untried`, `works` or `fails`) or
    /// `unreachable`.
    #[schema(value_type = Object)]
    reachability: Reachability,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeersQuery {
    limit: Option<usize>,
    state: Option<State>,
}

/// Which peers.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Connected and remembered ones.
    All,
    /// Heard lately.
    Live,
    /// Connected now.
    Connected,
}

impl State {
    fn holds(self, peer: &PeerView) -> bool {
        match self {
            Self::All => true,
            Self::Live => peer.live,
            Self::Connected => peer.connection.is_some(),
        }
    }
}

/// Says which peers, relays and storage links there are.
#[utoipa::path(get, path = "/peers", tag = "status", params(
    ("limit" = Option<u64>, Query, description = "peers in the answer, 1 to 1000; 1000 when left out"),
    ("state" = Option<String>, Query, description = "`all`, `live` (heard lately) or `connected`; all when left out"),
), responses(
    (status = 200, description = "the network", body = PeersAnswer),
    (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "starting", body = ProblemDocument, content_type = "application/problem+json"),
), security((), ("token" = [])))]
pub(crate) async fn peers(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let PeersQuery { limit, state } = query(request.uri().query())?;
    let limit = limit.unwrap_or(LIMIT);
    if !(1..=LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::BadQuery,
            format!("limit={limit} is out of range: expected 1 to {LIMIT}"),
        ));
    }
    let answer = match shared.network() {
        Some(network) => on(&network, limit, state.unwrap_or(State::All)),
        // In the first second of a node nothing is known yet.
        None => nobody(!shared.network_is_off()),
    };
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(answer))
}

fn on(network: &SwarmSnapshot, limit: usize, state: State) -> PeersAnswer {
    let asked = || network.peers.iter().filter(|peer| state.holds(peer));
    PeersAnswer {
        enabled: true,
        multiaddrs: network.multiaddrs.clone(),
        connected: network.connected as u64,
        total: asked().count() as u64,
        peers: asked().take(limit).cloned().collect(),
        relays: network.relays.clone(),
        links: network.links.clone(),
        reachability: network.reachability.clone(),
    }
}

fn nobody(enabled: bool) -> PeersAnswer {
    PeersAnswer {
        enabled,
        multiaddrs: Vec::new(),
        connected: 0,
        total: 0,
        peers: Vec::new(),
        relays: Vec::new(),
        links: Vec::new(),
        reachability: Reachability::Unknown,
    }
}
