//! `/admin/blocked`: blobs that this node neither keeps nor gives.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytecave_core::BlobCid;
use bytecave_messages::budget::Share;
use bytecave_messages::store::LIST_LIMIT;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NO_STORE, ProblemDocument, path_cid, query};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// CIDs in a page when the client names no number.
const DEFAULT_LIMIT: usize = 100;

/// A page of blocked blobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockedList {
    /// The blobs, in an order that is the node's own.
    #[schema(value_type = Vec<String>)]
    cids: Vec<BlobCid>,
    /// `after` of the next page; null after the last.
    next: Option<String>,
}

/// What became of a block.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockAnswer {
    /// The blob.
    #[schema(value_type = String)]
    cid: BlobCid,
    /// Whether it is blocked now.
    blocked: bool,
    /// Whether that is new.
    changed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockedQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// Lists blocked blobs.
#[utoipa::path(get, path = "/admin/blocked", operation_id = "list_blocked", tag = "admin", params(
    ("after" = Option<String>, Query, description = "`next` of the page before"),
    ("limit" = Option<u64>, Query, description = "CIDs in the page, 1 to 1000; 100 when left out"),
), responses(
    (status = 200, description = "a page", body = BlockedList),
    (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn list(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let BlockedQuery { after, limit } = query(request.uri().query())?;
    let after = after.map(|text| position(&text)).transpose()?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LIST_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::BadQuery,
            format!("limit={limit} is out of range: expected 1 to {LIST_LIMIT}"),
        ));
    }
    let page = shared.store()?.blocked(Share::Client, after, limit).await;
    let page = page.map_err(|error| shared.refused(error))?;
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(BlockedList {
            cids: page.cids,
            next: page.next.map(|next| URL_SAFE_NO_PAD.encode(next)),
        }))
}

/// Blocks a blob: what is here of it is deleted, pinned or not, and it is refused from then on.
#[utoipa::path(put, path = "/admin/blocked/{cid}", tag = "admin", params(
    ("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex"),
), responses(
    (status = 200, description = "blocked", body = BlockAnswer),
    (status = 400, description = "not a blob's CID", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn block(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    set(&request, &shared, true).await
}

/// Stops refusing a blob; what was deleted does not come back by itself.
#[utoipa::path(delete, path = "/admin/blocked/{cid}", tag = "admin", params(
    ("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex"),
), responses(
    (status = 200, description = "not blocked any more", body = BlockAnswer),
    (status = 400, description = "not a blob's CID", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn unblock(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    set(&request, &shared, false).await
}

async fn set(
    request: &HttpRequest,
    shared: &Shared,
    blocked: bool,
) -> Result<HttpResponse, Problem> {
    let cid = path_cid(request)?;
    let set = shared
        .store()?
        .set_blocked(Share::Client, cid, blocked)
        .await;
    let changed = set.map_err(|error| shared.refused(error))?;
    tracing::info!(cid = ?cid, blocked, changed, "block changed by request");
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(BlockAnswer {
            cid,
            blocked,
            changed,
        }))
}

fn position(text: &str) -> Result<[u8; 32], Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            Problem::new(
                Code::BadQuery,
                "after= is not a position: expected the next of the page before, as it was given",
            )
        })
}
