//! The routes: each reads its request, asks the store through its port, and writes the answer.

pub(crate) mod admin;
pub(crate) mod audits;
pub(crate) mod blobs;
pub(crate) mod blocked;
pub(crate) mod json;
pub(crate) mod moves;
pub(crate) mod peers;
pub(crate) mod place;
pub(crate) mod proofs;
pub(crate) mod replication;
pub(crate) mod retrieve;
pub(crate) mod shapes;
pub(crate) mod status;
pub(crate) mod store;

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::HttpRequest;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use bytecave_core::{BlobCid, ShardId};
use bytecave_messages::replicator::{Placed, ReplicatorSnapshot};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Code, Problem};
use crate::state::shard_copies;

/// Answers about the state of the node are of this moment.
pub(crate) const NO_STORE: (HeaderName, HeaderValue) =
    (CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// Copies of a blob.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Replicas {
    /// Copies that there shall be: the setting `replication.factor`, or fewer while the network has
    /// fewer nodes that keep the shard.
    target: u32,
    /// Copies known to be there, this node's included.
    confirmed: u32,
}

impl Replicas {
    /// Of a blob that was just stored here, and that the others do not have yet.
    pub(crate) fn ours_alone(copies: Option<&ReplicatorSnapshot>, shard: ShardId) -> Self {
        Self {
            confirmed: 1,
            ..Self::of_shard(copies, shard)
        }
    }

    /// Of any blob of a shard, as far as the replicator knows. A node alone keeps one copy and wants no
    /// more.
    pub(crate) fn of_shard(copies: Option<&ReplicatorSnapshot>, shard: ShardId) -> Self {
        let known = copies.and_then(|copies| Some((copies.factor, shard_copies(copies, shard)?)));
        let Some((factor, known)) = known else {
            return Self {
                target: 1,
                confirmed: 1,
            };
        };
        let takers = known.holders.iter().filter(|holder| holder.accepting);
        let takers = u32::try_from(takers.count()).unwrap_or(u32::MAX);
        Self {
            target: takers.clamp(1, factor.max(1)),
            confirmed: known.live.max(1),
        }
    }
}

impl From<Placed> for Replicas {
    fn from(placed: Placed) -> Self {
        Self {
            target: placed.target,
            confirmed: placed.confirmed,
        }
    }
}

/// Error of any route (RFC 9457). The shape alone, for the OpenAPI document: `Problem` renders it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemDocument {
    /// `urn:bytecave:problem:` and the code.
    r#type: String,
    /// The same text for every occurrence of the code.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was wrong, and what would be right.
    detail: String,
    /// Stable name, listed in docs/errors.md.
    code: String,
    /// The request's id, which the node's log has too.
    request_id: String,
    /// Whether the same request may succeed later.
    retryable: bool,
}

/// Milliseconds since 1970; 0 by a clock that is set before.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The CID in the path.
pub(crate) fn path_cid(request: &HttpRequest) -> Result<BlobCid, Problem> {
    let text = request.match_info().get("cid").unwrap_or_default();
    text.parse::<BlobCid>()
        .map_err(|error| Problem::new(Code::BadCid, error.to_string()))
}

/// The value of a header as text; an error when there is one that is not.
pub(crate) fn header_text<'a>(
    headers: &'a actix_web::http::header::HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    match headers.get(name).map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Problem::new(
            Code::BadHeader,
            format!("header {name} has characters that are not visible ASCII"),
        )),
    }
}

/// A switch in a query: `1` and `true`, `0` and `false`.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Flag {
    #[serde(rename = "1", alias = "true", alias = "")]
    On,
    #[serde(rename = "0", alias = "false")]
    Off,
}

/// Query parameters, each of which must be known.
pub(crate) fn query<T: serde::de::DeserializeOwned>(query: Option<&str>) -> Result<T, Problem> {
    actix_web::web::Query::<T>::from_query(query.unwrap_or_default())
        .map(actix_web::web::Query::into_inner)
        .map_err(|error| {
            let cause = match error {
                actix_web::error::QueryPayloadError::Deserialize(cause) => cause.to_string(),
                other => other.to_string(),
            };
            Problem::new(Code::BadQuery, format!("the query cannot be read: {cause}"))
        })
}
