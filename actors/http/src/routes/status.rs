//! How the node is: answered from snapshots alone, at the same cost whatever is stored.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use bytecave_core::{PeerId, ShardRange};
use bytecave_messages::budget::{ActorName, BudgetSnapshot};
use bytecave_messages::lifecycle::PartState;
use bytecave_messages::proof::ScrubView;
use bytecave_messages::replicator::HolderView;
use bytecave_messages::store::{Durability, StoreCondition, StoreSnapshot};
use bytecave_messages::swarm::Reachability;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::shapes::ScrubShape;
use super::{NO_STORE, ProblemDocument};
use crate::openapi;
use crate::problem::{Code, Problem};
use crate::state::{Phase, Shared, shard_copies};

/// Whether the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiveAnswer {
    /// Always `live`.
    status: &'static str,
}

/// Whether the node is ready for work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadyAnswer {
    /// Always `ready`; a node that is not answers 503.
    status: &'static str,
    /// How each part is.
    parts: Vec<PartAnswer>,
}

/// A part of the node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartAnswer {
    /// Which.
    #[schema(value_type = String, example = "store")]
    actor: ActorName,
    /// `starting`, `ready`, `disabled` (with a `reason`) or `stopping`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    state: PartState,
}

/// How well the node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HealthStatus {
    /// All is well.
    Healthy,
    /// It serves, but something needs attention: `reasons` says what.
    Degraded,
    /// The store cannot answer.
    Unhealthy,
}

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HealthAnswer {
    status: HealthStatus,
    /// Why it is not healthy.
    reasons: Vec<String>,
    /// Seconds since the start.
    uptime: u64,
    /// Blobs stored.
    stored_blobs: u64,
    /// Bytes of content stored.
    total_size: u64,
    /// Encrypted bytes that count against the quota.
    used_bytes: u64,
    /// The storage limit, encrypted bytes.
    quota_bytes: u64,
    /// Free bytes of the disk.
    disk_free_bytes: u64,
    /// Blobs whose bytes were found damaged.
    quarantined_blobs: u64,
    /// How far the re-reading of everything is; null in the node's first second.
    #[schema(value_type = Option<ScrubShape>)]
    scrub: Option<ScrubView>,
    /// libp2p peer id.
    peer_id: String,
    /// Addresses at which other nodes reach this one.
    multiaddrs: Vec<String>,
    /// `0x` and the 64 hex digits of the Ed25519 key.
    public_key: String,
    /// Other nodes connected.
    peers: u64,
    /// `verdict`: `unknown`, `direct`, `relayed` (with `holePunching`: `untried`, `works` or `fails`) or
    /// `unreachable`; null while networking is off.
    #[schema(value_type = Option<Object>)]
    reachability: Option<Reachability>,
    /// Version of the program.
    version: &'static str,
}

/// Who the node is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InfoAnswer {
    /// Name of the node.
    node_id: String,
    /// libp2p peer id.
    peer_id: String,
    /// `0x` and the 64 hex digits of the Ed25519 key.
    public_key: String,
    /// Ethereum address of the owner; null when none is set.
    owner_address: Option<String>,
    /// Addresses at which other nodes reach this one.
    multiaddrs: Vec<String>,
    /// Shards it keeps, both ends inclusive.
    #[schema(value_type = Vec<RangeAnswer>)]
    shards: Vec<ShardRange>,
    /// Shards in the network.
    shard_count: u16,
    /// When a small blob counts as stored: `strict`, `batched` or `relaxed`.
    #[schema(value_type = String, example = "strict")]
    durability: Durability,
    /// Largest blob that is accepted, in bytes.
    max_blob_size: u64,
    /// Whether storing asks for the token.
    store_needs_token: bool,
    /// Version of the program.
    version: &'static str,
}

/// A run of shards.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct RangeAnswer {
    /// First shard.
    start: u64,
    /// Last shard.
    end: u64,
}

/// The shards of this node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardsAnswer {
    /// Shards in the network.
    shard_count: u16,
    /// Shards it keeps, both ends inclusive.
    #[schema(value_type = Vec<RangeAnswer>)]
    owned: Vec<ShardRange>,
    /// Counters of each shard that has blobs here or had.
    shards: Vec<ShardAnswer>,
}

/// One shard.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardAnswer {
    /// Which.
    shard: u16,
    /// Whether it takes new blobs.
    owned: bool,
    /// Blobs.
    blobs: u64,
    /// Bytes of content.
    bytes: u64,
    /// Bytes on disk, encrypted.
    sealed_bytes: u64,
    /// Encrypted bytes of deleted blobs whose space is not free yet.
    dead_bytes: u64,
    /// Blobs that were let go, since others hold them, and stand on disk until `replication.hold` is over: not among
    /// `blobs`.
    retired: u64,
    /// Bytes of content of these.
    retired_bytes: u64,
    /// Sum over the set of blobs, 64 hex digits: equal on two nodes that hold the same set.
    fingerprint: String,
    /// The nodes that hold it, by rank; empty until the node has worked them out.
    holders: Vec<HolderAnswer>,
}

/// A node that holds a shard.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HolderAnswer {
    /// Which.
    #[schema(value_type = String)]
    peer_id: PeerId,
    /// Whether it is this node.
    here: bool,
    /// Whether it takes new blobs.
    accepting: bool,
    /// Whether it is live.
    live: bool,
}

impl From<&HolderView> for HolderAnswer {
    fn from(holder: &HolderView) -> Self {
        Self {
            peer_id: holder.peer_id,
            here: holder.here,
            accepting: holder.accepting,
            live: holder.live,
        }
    }
}

/// The actors' mailboxes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActorsAnswer {
    /// One for each actor.
    actors: Vec<ActorAnswer>,
}

/// One actor's mailbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActorAnswer {
    /// How the actor is; absent until it has said so.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    state: Option<PartState>,
    /// `actor`, `capacity`, `depth`, and by kind of message `depth`, `handled`, `shed`, `seconds`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    mailbox: BudgetSnapshot,
}

/// Says that the process answers.
#[utoipa::path(get, path = "/live", tag = "status", responses(
    (status = 200, description = "live", body = LiveAnswer),
))]
pub(crate) async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(LiveAnswer { status: "live" })
}

/// Says whether the node is ready, and which part is not.
#[utoipa::path(get, path = "/ready", tag = "status", responses(
    (status = 200, description = "ready", body = ReadyAnswer),
    (status = 503, description = "not ready; `parts` says why", body = ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn ready(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let parts = shared.parts();
    let mut waiting: Vec<String> = parts
        .iter()
        .filter(|(_, state)| !is_ready(state))
        .map(|(actor, _)| actor.to_string())
        .collect();
    if shared.phase() == Phase::Closing {
        waiting.push("the node itself, which is stopping".to_owned());
    }
    if shared.store_is_gone() {
        waiting.push("store, which is gone".to_owned());
    }
    // Ready means that every route answers, and several answer from the store's first snapshot.
    if shared.view().is_none() && waiting.is_empty() {
        waiting.push("store, which has not said yet how it is".to_owned());
    }
    let parts: Vec<PartAnswer> = parts
        .into_iter()
        .map(|(actor, state)| PartAnswer { actor, state })
        .collect();
    if waiting.is_empty() {
        return Ok(HttpResponse::Ok()
            .insert_header(NO_STORE)
            .json(ReadyAnswer {
                status: "ready",
                parts,
            }));
    }
    let detail = format!("not ready: {}", waiting.join(", "));
    Err(Problem::new(Code::NotReady, detail)
        .with_member("parts", json!(parts))
        .retry_after(std::time::Duration::from_secs(1)))
}

/// Says how the node is, from counters.
#[utoipa::path(get, path = "/health", tag = "status", responses(
    (status = 200, description = "how it is; also when it is not well", body = HealthAnswer),
    (status = 503, description = "starting", body = ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn health(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let view = shared.view_or_recovering()?;
    let snapshot = &view.snapshot;
    let (status, reasons) = diagnose(&shared, snapshot);
    let identity = &shared.identity;
    let network = shared.network();
    let network = network.as_deref();
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(HealthAnswer {
            status,
            reasons,
            uptime: identity.started.elapsed().as_secs(),
            stored_blobs: snapshot.blobs,
            total_size: snapshot.bytes,
            used_bytes: snapshot.sealed_bytes + snapshot.reserved_bytes,
            quota_bytes: snapshot.quota_bytes,
            disk_free_bytes: snapshot.disk_free_bytes,
            quarantined_blobs: snapshot.quarantined,
            scrub: shared.proofs().map(|proofs| proofs.scrub.clone()),
            peer_id: identity.peer_id.clone(),
            multiaddrs: network.map_or_else(Vec::new, |network| network.multiaddrs.clone()),
            public_key: identity.public_key.clone(),
            peers: network.map_or(0, |network| network.connected as u64),
            reachability: network.map(|network| network.reachability.clone()),
            version: identity.version,
        }))
}

/// Says who the node is.
#[utoipa::path(get, path = "/info", tag = "status", responses(
    (status = 200, description = "who it is", body = InfoAnswer),
    (status = 503, description = "starting", body = ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn info(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let view = shared.view_or_recovering()?;
    let identity = &shared.identity;
    let network = shared.network();
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(InfoAnswer {
        node_id: identity.node_id.clone(),
        peer_id: identity.peer_id.clone(),
        public_key: identity.public_key.clone(),
        owner_address: identity.owner_address.clone(),
        multiaddrs: network.map_or_else(Vec::new, |network| network.multiaddrs.clone()),
        shards: view.snapshot.owned.clone(),
        shard_count: view.snapshot.shard_count.get(),
        durability: view.snapshot.durability,
        max_blob_size: shared.settings.max_blob_bytes,
        store_needs_token: shared.access.store_needs_token(),
        version: identity.version,
    }))
}

/// Says which shards are here, what is in them, and which nodes hold them.
#[utoipa::path(get, path = "/shards", tag = "status", responses(
    (status = 200, description = "the shards", body = ShardsAnswer),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "starting", body = ProblemDocument, content_type = "application/problem+json"),
), security((), ("token" = [])))]
pub(crate) async fn shards(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let view = shared.view_or_recovering()?;
    let snapshot = &view.snapshot;
    let copies = shared.copies();
    let holders = |shard| {
        let known = copies
            .as_deref()
            .and_then(|copies| shard_copies(copies, shard));
        known.map_or_else(Vec::new, |known| {
            known.holders.iter().map(Into::into).collect()
        })
    };
    let shards = snapshot.shards.iter().map(|counters| ShardAnswer {
        shard: counters.shard.get(),
        owned: counters.owned,
        blobs: counters.blobs,
        bytes: counters.bytes,
        sealed_bytes: counters.sealed_bytes,
        dead_bytes: counters.dead_bytes,
        retired: counters.retired,
        retired_bytes: counters.retired_bytes,
        fingerprint: hex::encode(counters.fingerprint.as_bytes()),
        holders: holders(counters.shard),
    });
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(ShardsAnswer {
            shard_count: snapshot.shard_count.get(),
            owned: snapshot.owned.clone(),
            shards: shards.collect(),
        }))
}

/// Says how full the actors' mailboxes are.
#[utoipa::path(get, path = "/actors", tag = "status", responses(
    (status = 200, description = "the mailboxes", body = ActorsAnswer),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
), security((), ("token" = [])))]
pub(crate) async fn actors(shared: web::Data<Shared>) -> HttpResponse {
    let mut parts = shared.parts();
    let actors = shared.budgets.iter().map(|budget| ActorAnswer {
        state: parts.remove(&budget.actor()),
        mailbox: budget.snapshot(),
    });
    HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(ActorsAnswer {
            actors: actors.collect(),
        })
}

/// Gives metrics in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "status", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
), security((), ("token" = [])))]
pub(crate) async fn metrics(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let text = crate::metrics::render(&shared)
        .map_err(|_| Problem::new(Code::Internal, "the metrics could not be written"))?;
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .insert_header((
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ))
        .body(text))
}

/// Gives this document.
#[utoipa::path(get, path = "/openapi.json", tag = "status", responses(
    (status = 200, description = "the OpenAPI document", content_type = "application/json"),
))]
pub(crate) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(openapi::openapi_json())
}

/// A part that is switched off is as ready as it will be.
fn is_ready(state: &PartState) -> bool {
    matches!(state, PartState::Ready | PartState::Disabled { .. })
}

fn diagnose(shared: &Shared, snapshot: &StoreSnapshot) -> (HealthStatus, Vec<String>) {
    let store_is_up = shared
        .parts()
        .get(&ActorName::Store)
        .is_none_or(|state| matches!(state, PartState::Ready));
    if !store_is_up || shared.store_is_gone() {
        return (
            HealthStatus::Unhealthy,
            vec!["the store cannot answer".to_owned()],
        );
    }
    let mut reasons = Vec::new();
    match &snapshot.condition {
        StoreCondition::Writable => {}
        StoreCondition::Full => reasons.push(
            "the storage limit or the disk's reserve is reached: nothing is stored".to_owned(),
        ),
        StoreCondition::ReadOnly(why) => reasons.push(format!("the store is read-only: {why}")),
    }
    if snapshot.quarantined > 0 {
        let count = snapshot.quarantined;
        reasons.push(format!("{count} blobs are damaged and quarantined"));
    }
    if reasons.is_empty() {
        (HealthStatus::Healthy, reasons)
    } else {
        (HealthStatus::Degraded, reasons)
    }
}
