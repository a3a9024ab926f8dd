//! `/blobs`, `/blobs/{cid}` and `/pins/{cid}`: what is stored here, and what shall stay.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytecave_core::{BlobCid, ShardCount, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::replicator::ReplicatorSnapshot;
use bytecave_messages::store::{BlobInfo, LIST_LIMIT, ListCursor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NO_STORE, ProblemDocument, Replicas, path_cid, query};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// Blobs in a page when the client names no number.
const DEFAULT_LIMIT: usize = 100;

/// What is known of a stored blob.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlobAnswer {
    /// Its name.
    #[schema(value_type = String)]
    cid: BlobCid,
    /// Bytes of content.
    size: u64,
    /// Bytes on disk, encrypted.
    sealed_size: u64,
    /// Media type of the first store.
    content_type: Option<String>,
    /// File name of the first store.
    file_name: Option<String>,
    /// Its shard.
    shard: u16,
    /// Root of its tree, 64 hex digits.
    blob_root: String,
    /// When it was first stored, milliseconds since 1970.
    created_ms: u64,
    /// Whether it is protected from deletion.
    pinned: bool,
    /// Whether its bytes were found damaged.
    quarantined: bool,
    /// Its copies, as far as they are known: of the set that it belongs to.
    replicas: Replicas,
}

impl BlobAnswer {
    fn new(info: BlobInfo, copies: Option<&ReplicatorSnapshot>) -> Self {
        let replicas = Replicas::of_shard(copies, info.shard);
        Self {
            cid: info.cid,
            size: info.size,
            sealed_size: info.sealed_size,
            content_type: info.content_type,
            file_name: info.file_name,
            shard: info.shard.get(),
            blob_root: hex::encode(info.blob_root.as_bytes()),
            created_ms: info.created_ms,
            pinned: info.pinned,
            quarantined: info.quarantined,
            replicas,
        }
    }
}

/// A page of stored blobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlobList {
    /// The blobs, in an order that is the node's own.
    blobs: Vec<BlobAnswer>,
    /// `after` of the next page; null after the last.
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    shard: Option<u64>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Lists stored blobs.
#[utoipa::path(
    get,
    path = "/blobs",
    tag = "blobs",
    params(
        ("shard" = Option<u64>, Query, description = "only this shard"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u64>, Query, description = "blobs in the page, 1 to 1000; 100 when left out"),
    ),
    responses(
        (status = 200, description = "a page", body = BlobList),
        (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn list(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let ListQuery {
        shard,
        after,
        limit,
    } = query(request.uri().query())?;
    let count = shared.view_or_recovering()?.snapshot.shard_count;
    let shard = shard.map(|shard| checked_shard(count, shard)).transpose()?;
    let after = after
        .map(|text| cursor_from_text(count, &text))
        .transpose()?;
    if let (Some(shard), Some(after)) = (shard, after)
        && shard != after.shard
    {
        return Err(Problem::new(
            Code::BadQuery,
            "after= belongs to a list of another shard: expected the next of the same list",
        ));
    }
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LIST_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::BadQuery,
            format!("limit={limit} is out of range: expected 1 to {LIST_LIMIT}"),
        ));
    }
    let page = shared.store()?.list(Share::Client, shard, after, limit);
    let page = page.await.map_err(|error| shared.refused(error))?;
    let copies = shared.copies();
    let answer = |info| BlobAnswer::new(info, copies.as_deref());
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(BlobList {
        blobs: page.blobs.into_iter().map(answer).collect(),
        next: page.next.as_ref().map(cursor_to_text),
    }))
}

/// Says what is known of a blob.
#[utoipa::path(
    get,
    path = "/blobs/{cid}",
    tag = "blobs",
    params(("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex")),
    responses(
        (status = 200, description = "what is known", body = BlobAnswer),
        (status = 400, description = "not a blob's CID", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "not stored here", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn show(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let cid = path_cid(&request)?;
    let info = shared.store()?.info(Share::Client, cid).await;
    let info = info.map_err(|error| shared.refused(error))?;
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(BlobAnswer::new(info, shared.copies().as_deref())))
}

/// Deletes a blob from this node.
#[utoipa::path(
    delete,
    path = "/blobs/{cid}",
    tag = "blobs",
    params(("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex")),
    responses(
        (status = 204, description = "deleted"),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "not stored here", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "pinned", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(crate) async fn delete(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let cid = path_cid(&request)?;
    let deleted = shared.store()?.delete(Share::Client, cid).await;
    deleted.map_err(|error| shared.refused(error))?;
    tracing::info!(cid = ?cid, "blob deleted by request");
    Ok(HttpResponse::NoContent().insert_header(NO_STORE).finish())
}

/// Protects a blob from deletion.
#[utoipa::path(
    put,
    path = "/pins/{cid}",
    tag = "blobs",
    params(("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex")),
    responses(
        (status = 204, description = "pinned"),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "not stored here", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(crate) async fn pin(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    set_pin(&request, &shared, true).await
}

/// Stops protecting a blob from deletion.
#[utoipa::path(
    delete,
    path = "/pins/{cid}",
    tag = "blobs",
    params(("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex")),
    responses(
        (status = 204, description = "not pinned any more"),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "not stored here", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("token" = [])),
)]
pub(crate) async fn unpin(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    set_pin(&request, &shared, false).await
}

async fn set_pin(
    request: &HttpRequest,
    shared: &Shared,
    pinned: bool,
) -> Result<HttpResponse, Problem> {
    let cid = path_cid(request)?;
    let set = shared.store()?.set_pin(Share::Client, cid, pinned).await;
    set.map_err(|error| shared.refused(error))?;
    Ok(HttpResponse::NoContent().insert_header(NO_STORE).finish())
}

fn checked_shard(count: ShardCount, shard: u64) -> Result<ShardId, Problem> {
    count
        .shard(shard)
        .map_err(|error| Problem::new(Code::BadQuery, error.to_string()))
}

fn cursor_to_text(cursor: &ListCursor) -> String {
    let mut bytes = [0; 34];
    let (shard, after) = bytes.split_at_mut(2);
    shard.copy_from_slice(&cursor.shard.get().to_be_bytes());
    after.copy_from_slice(&cursor.after);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn cursor_from_text(count: ShardCount, text: &str) -> Result<ListCursor, Problem> {
    let wrong = || {
        Problem::new(
            Code::BadQuery,
            "after= is not a position: expected the next of the page before, as it was given",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    let (shard, after) = bytes.split_first_chunk::<2>().ok_or_else(wrong)?;
    let after = after.try_into().map_err(|_| wrong())?;
    let shard = count
        .shard(u16::from_be_bytes(*shard).into())
        .map_err(|_| wrong())?;
    Ok(ListCursor { shard, after })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let count = ShardCount::new(16).unwrap();
        let cursor = ListCursor {
            shard: count.shard(15).unwrap(),
            after: [0xa5; 32],
        };
        let text = cursor_to_text(&cursor);
        assert_eq!(cursor_from_text(count, &text).unwrap(), cursor);
        let smaller = ShardCount::new(8).unwrap();
        assert!(cursor_from_text(smaller, &text).is_err());
        for wrong in ["", "x", "====", &text[1..], &format!("{text}AA")] {
            assert!(cursor_from_text(count, wrong).is_err(), "{wrong}");
        }
    }
}
