//! `/replication`: where the copies are, from the latest snapshot alone.

use std::cmp::Ordering;

use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_messages::replicator::{PeerConduct, ReplicatorSnapshot, ShardReplication};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Flag, NO_STORE, ProblemDocument, query};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// Most shards in an answer, and how many there are when the client names no number: as many as a
/// network can have.
const SHARDS_LIMIT: usize = 4096;
/// Most peers in an answer: those of the worst conduct.
const PEERS_LIMIT: usize = 1000;

/// Where the copies are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicationAnswer<'a> {
    /// Whether networking is switched on; without it no blob has a second copy.
    enabled: bool,
    /// Copies that each blob shall have (`replication.factor`).
    factor: u32,
    /// Blobs that wait to be copied to others for the first time.
    outbox: u64,
    /// Blobs that are to be fetched from other holders.
    repairs_waiting: u64,
    /// Blobs being fetched from other holders.
    repairs_running: u64,
    /// Shards that this node keeps or has blobs of, also those behind the limit.
    total: u64,
    /// Of these, those with copies wanting.
    missing: u64,
    /// The asked shards, ascending.
    #[schema(value_type = Vec<ShardReplicationShape>)]
    shards: Vec<&'a ShardReplication>,
    /// `after` of the next page; null after the last.
    next: Option<u16>,
    /// Peers whose conduct is remembered, by peer id; the worst thousand when there are more.
    #[schema(value_type = Vec<PeerConductShape>)]
    peers: Vec<&'a PeerConduct>,
}

/// The copies of one shard.
#[derive(ToSchema)]
#[schema(as = ShardReplication)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct ShardReplicationShape {
    /// Which.
    shard: u16,
    /// Blobs of it here.
    blobs: u64,
    /// The nodes that hold it, by rank.
    holders: Vec<HolderShape>,
    /// Holders, this node included, whose set of blobs was last found to be like this node's.
    live: u32,
    /// Copies that are wanting.
    missing: u32,
    /// Why copies are wanting; absent when none is.
    reason: Option<String>,
}

/// A node that holds a shard.
#[derive(ToSchema)]
#[schema(as = ShardHolder)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct HolderShape {
    /// Which.
    peer_id: String,
    /// Whether it is this node.
    here: bool,
    /// Whether it takes new blobs.
    accepting: bool,
    /// Whether it is live.
    live: bool,
    /// When its set was last found to be like this node's, milliseconds since 1970; absent if never.
    alike_ms: Option<u64>,
    /// Blobs that one of the two lacked when they last compared; absent if never.
    differing: Option<u64>,
}

/// How a peer behaved.
#[derive(ToSchema)]
#[schema(as = PeerConduct)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct PeerConductShape {
    /// Which.
    peer_id: String,
    /// From -100 to 100; above 0 is good. It decays towards 0.
    score: f64,
    /// Whether nothing is asked of it for the time being.
    blocked: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicationQuery {
    missing: Option<Flag>,
    after: Option<u16>,
    limit: Option<usize>,
}

/// Says where the copies of each shard are, how many are wanting, and why.
#[utoipa::path(get, path = "/replication", tag = "status", params(
    ("missing" = Option<String>, Query, description = "1: only shards with copies wanting"),
    ("after" = Option<u16>, Query, description = "only shards behind this one: `next` of the page before"),
    ("limit" = Option<u64>, Query, description = "shards in the answer, 1 to 4096; 4096 when left out"),
), responses(
    (status = 200, description = "the copies", body = ReplicationAnswer<'static>),
    (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "starting", body = ProblemDocument, content_type = "application/problem+json"),
), security((), ("token" = [])))]
pub(crate) async fn replication(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let asked: ReplicationQuery = query(request.uri().query())?;
    let limit = asked.limit.unwrap_or(SHARDS_LIMIT);
    if !(1..=SHARDS_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::BadQuery,
            format!("limit={limit} is out of range: expected 1 to {SHARDS_LIMIT}"),
        ));
    }
    let enabled = !shared.network_is_off();
    let copies = shared.copies();
    let answer = match &copies {
        Some(copies) => known(copies, enabled, &asked, limit),
        // In the first second of a node nothing is known yet.
        None => nothing(enabled, shared.settings.replication_factor),
    };
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(answer))
}

fn known<'a>(
    copies: &'a ReplicatorSnapshot,
    enabled: bool,
    asked: &ReplicationQuery,
    limit: usize,
) -> ReplicationAnswer<'a> {
    let only_missing = asked.missing == Some(Flag::On);
    let wanting = |shard: &&ShardReplication| shard.missing > 0;
    let mut rest = copies
        .shards
        .iter()
        .filter(|shard| asked.after.is_none_or(|after| shard.shard.get() > after))
        .filter(|shard| !only_missing || wanting(shard));
    let shards: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.next().and_then(|_| shards.last());
    let next = next.map(|last| last.shard.get());
    ReplicationAnswer {
        enabled,
        factor: copies.factor,
        outbox: copies.outbox,
        repairs_waiting: copies.repairs_waiting,
        repairs_running: copies.repairs_running,
        total: copies.shards.len() as u64,
        missing: copies.shards.iter().filter(wanting).count() as u64,
        next,
        shards,
        peers: worst(&copies.peers),
    }
}

/// The peers that an operator would look for, by peer id.
fn worst(peers: &[PeerConduct]) -> Vec<&PeerConduct> {
    let mut chosen: Vec<&PeerConduct> = peers.iter().collect();
    if chosen.len() > PEERS_LIMIT {
        let by_conduct = |one: &&PeerConduct, other: &&PeerConduct| -> Ordering {
            let blocked_first = other.blocked.cmp(&one.blocked);
            blocked_first.then(one.score.total_cmp(&other.score))
        };
        chosen.sort_by(by_conduct);
        chosen.truncate(PEERS_LIMIT);
        chosen.sort_by_key(|peer| peer.peer_id);
    }
    chosen
}

fn nothing(enabled: bool, factor: u32) -> ReplicationAnswer<'static> {
    ReplicationAnswer {
        enabled,
        factor,
        outbox: 0,
        repairs_waiting: 0,
        repairs_running: 0,
        total: 0,
        missing: 0,
        shards: Vec::new(),
        next: None,
        peers: Vec::new(),
    }
}
