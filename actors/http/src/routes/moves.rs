//! `/admin/shards/plan` and `/admin/shards/apply`: what stands here that other nodes hold, and the word to
//! let it go.

use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_core::{ShardRange, ShardSet};
use bytecave_messages::budget::Share;
use serde::Deserialize;
use utoipa::ToSchema;

use super::json::{Form, bad_body};
use super::status::RangeAnswer;
use super::{NO_STORE, ProblemDocument};
use crate::problem::Problem;
use crate::state::Shared;

/// A list of as many ranges as a network can have shards is no longer than this.
const ORDER: Form = Form {
    max_bytes: 256 * 1024,
    example: r#"{"shards":[{"start":512,"end":767}]}"#,
};

/// Which shards are to be handed over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandOver {
    /// Ranges of shards, both ends inclusive; all of them in the plan.
    #[schema(value_type = Vec<RangeAnswer>)]
    shards: Vec<ShardRange>,
}

/// What stands here that other nodes hold.
#[derive(ToSchema)]
#[schema(as = ShardPlan)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct PlanShape {
    /// Copies on others that a blob needs before it is let go here (`replication.factor`).
    factor: u32,
    /// Seconds for which what was let go stays on disk (`replication.hold`).
    hold: u64,
    /// The shards, ascending.
    shards: Vec<MoveShape>,
}

/// One shard, and how far its handing over is.
#[derive(ToSchema)]
#[schema(as = ShardMove)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct MoveShape {
    /// Which.
    shard: u16,
    /// Whether this node keeps it (`NODE_SHARDS`) and only does not hold it: then what others have proved is let
    /// go without being asked for.
    owned: bool,
    /// Whether it was ordered to hand it over.
    applied: bool,
    /// Blobs that are left here.
    blobs: u64,
    /// Their content bytes.
    bytes: u64,
    /// Who would have it, by rank.
    holders: Vec<MoveHolderShape>,
    /// How many of them are live.
    live: u32,
    /// How many of them lack nothing of what is here, by their own word.
    given: u32,
    /// Blobs that enough holders have proved since the node began or the order was given.
    proved: u64,
    /// Blobs that were let go since then.
    retired: u64,
    /// Blobs here that are pinned and stay, as far as was seen.
    pinned: u64,
    /// What is wanting; absent when nothing is left to do.
    waiting: Option<String>,
}

/// Who would have a shard.
#[derive(ToSchema)]
#[schema(as = MoveHolder)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the shape alone, for the OpenAPI document")]
pub(crate) struct MoveHolderShape {
    /// Which node.
    peer_id: String,
    /// Whether it is live.
    live: bool,
    /// Whether it takes new blobs.
    accepting: bool,
    /// Whether it lacks nothing of what is here, by its own word.
    given: bool,
}

/// Shards with blobs here that this node does not keep any more, or keeps and does not hold, and how far
/// their handing over is.
#[utoipa::path(get, path = "/admin/shards/plan", tag = "admin", responses(
    (status = 200, description = "the plan", body = PlanShape),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting, or networking is off", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn plan(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let plan = shared.replicator()?.shard_plan(Share::Client).await?;
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(plan))
}

/// Hands shards of the plan over: each blob that enough holders have proved is let go here.
///
/// Answers at once with the plan; the work goes on, also after a restart.
#[utoipa::path(post, path = "/admin/shards/apply", tag = "admin", request_body = HandOver, responses(
    (status = 200, description = "ordered: the plan as it is now", body = PlanShape),
    (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 409, description = "a shard is not in the plan", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 413, description = "larger than an order can be", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 415, description = "not JSON", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting, or networking is off", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn apply(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let order = ORDER.read::<HandOver>(&shared, &request, payload).await?;
    let view = shared.view_or_recovering()?;
    let set = ShardSet::from_ranges(view.snapshot.shard_count, &order.value.shards)
        .map_err(|error| bad_body(format!("shards: {error}")))?;
    let shards = set.iter().collect();
    let plan = shared.replicator()?.apply_shard_plan(Share::Client, shards);
    let plan = plan.await?;
    tracing::info!(shards = set.len(), "handing shards over by request");
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(plan))
}
