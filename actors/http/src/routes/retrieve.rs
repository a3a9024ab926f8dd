//! `GET` and `HEAD /retrieve/{cid}`.

use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::BlobCid;
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::Share;
use bytecave_messages::replicator::FetchedBlob;
use bytecave_messages::store::{BlobInfo, BlobRead, ByteRange, StoreError};
use serde::Deserialize;

use super::{Flag, ProblemDocument, header_text, path_cid, query};
use crate::body::{self, LengthOnly};
use crate::conn::ConnState;
use crate::disposition;
use crate::gate::HeldPermit;
use crate::problem::{Code, Problem, range_not_satisfiable};
use crate::range::{self, Asked};
use crate::state::Shared;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const OCTET_STREAM: &str = "application/octet-stream";
/// Types that a browser may show: they run nothing, and `nosniff` keeps it at that.
const SHOWN_TYPES: [&str; 17] = [
    "text/plain",
    "application/json",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/bmp",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "audio/webm",
    "audio/mp4",
    "audio/flac",
    "video/mp4",
    "video/webm",
    "video/ogg",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetrieveQuery {
    /// A name to download as.
    download: Option<String>,
    /// Never ask the network.
    local: Option<Flag>,
}

/// What the query says.
#[derive(Default)]
struct Asking {
    download: Option<String>,
    local: bool,
}

/// A blob, stored here or fetched from a peer.
struct Known {
    cid: BlobCid,
    size: u64,
    content_type: Option<String>,
    file_name: Option<String>,
}

/// A part of a blob to be sent.
struct Part {
    known: Known,
    offset: u64,
    len: u64,
    body: BlobBody,
}

impl From<BlobInfo> for Known {
    fn from(info: BlobInfo) -> Self {
        Self {
            cid: info.cid,
            size: info.size,
            content_type: info.content_type,
            file_name: info.file_name,
        }
    }
}

/// Gives a blob back; one that is not stored here is asked of peers.
///
/// What comes from peers is verified: a blob of up to 4 MiB, and any range, before the first byte is
/// sent; a larger one as it goes, its end withheld until the whole is known to be right. The CID is the blob's own in any multibase, or the 64 hex digits of its SHA-256.
#[utoipa::path(
    get,
    path = "/retrieve/{cid}",
    tag = "blobs",
    params(
        ("cid" = String, Path, description = "the blob's CID, or its SHA-256 in hex"),
        ("download" = Option<String>, Query, description = "a file name to download as"),
        ("local" = Option<String>, Query, description = "1: never ask other nodes"),
        ("Range" = Option<String>, Header, description = "one range of bytes"),
        ("If-Range" = Option<String>, Header, description = "the ETag for which the range holds"),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the client has"),
    ),
    responses(
        (status = 200, description = "the bytes", content_type = "application/octet-stream"),
        (status = 206, description = "the bytes of the range", content_type = "application/octet-stream"),
        (status = 304, description = "the client has them"),
        (status = 400, description = "not a blob's CID", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "neither stored here nor at the peers that were asked", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "the range lies outside the blob", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "too many requests", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 451, description = "blocked on this node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "the blob is damaged", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "busy or starting; Retry-After says how long to wait", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "peers that may have it did not give it in time", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "a range of a blob that is not here, and no room to fetch the whole for it", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn retrieve(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let cid = path_cid(&request)?;
    let headers = request.headers();
    let Asking { download, local } = asking(request.uri().query())?;
    let download = download.as_deref();
    let etag = format!("\"{cid}\"");
    let source = Source {
        shared: &shared,
        local,
    };
    if let Some(tags) = header_text(headers, &IF_NONE_MATCH)?
        && matches_any(tags, &etag)
    {
        // The content of a CID never changes, but a blob that is nowhere cannot be confirmed.
        let known = source.about(cid, true).await?;
        return Ok(about(StatusCode::NOT_MODIFIED, &known, &etag, None).finish());
    }
    if request.method() == Method::HEAD {
        // What GET would say: damaged bytes are not served.
        let known = source.about(cid, false).await?;
        let body = BoxBody::new(LengthOnly(known.size));
        return Ok(about(StatusCode::OK, &known, &etag, download).body(body));
    }
    let range = asked_range(&source, headers, cid, &etag).await?;
    let Part {
        known,
        offset,
        len,
        body,
    } = source.read(cid, range).await?;
    let status = match range {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    let mut response = about(status, &known, &etag, download);
    if range.is_some() {
        // A range that is served has at least one byte.
        let last = offset + len.saturating_sub(1);
        let size = known.size;
        response.insert_header((CONTENT_RANGE, format!("bytes {offset}-{last}/{size}")));
    }
    let conn = request.conn_data::<Rc<ConnState>>().cloned();
    let permit = request.extensions_mut().remove::<HeldPermit>();
    Ok(response.body(body::blob(body, len, conn, permit)))
}

/// Where a blob comes from: the store, and peers when it is not there.
struct Source<'a> {
    shared: &'a Shared,
    /// Never from peers.
    local: bool,
}

impl Source<'_> {
    /// What is known of a blob, where `damaged_too` also of one that is not served.
    async fn about(&self, cid: BlobCid, damaged_too: bool) -> Result<Known, Problem> {
        match self.shared.store()?.info(Share::Client, cid).await {
            Ok(info) if info.quarantined && !damaged_too => Err(StoreError::Damaged { cid }.into()),
            Ok(info) => Ok(info.into()),
            // Nothing of the bytes is wanted: dropping them ends the fetch.
            Err(error) => self
                .elsewhere(cid, None, error)
                .await
                .map(|part| part.known),
        }
    }

    /// The bytes of a blob, or of a part of it.
    async fn read(&self, cid: BlobCid, range: Option<ByteRange>) -> Result<Part, Problem> {
        match self.shared.store()?.get(Share::Client, cid, range).await {
            Ok(read) => Ok(read.into()),
            Err(error) => self.elsewhere(cid, range, error).await,
        }
    }

    /// The blob from peers, if `error` says that it is not here and peers may be asked.
    async fn elsewhere(
        &self,
        cid: BlobCid,
        range: Option<ByteRange>,
        error: StoreError,
    ) -> Result<Part, Problem> {
        if self.local || !matches!(error, StoreError::NotFound { .. }) {
            return Err(self.shared.refused(error));
        }
        let replicator = self.shared.replicator()?;
        let fetched = replicator.fetch(Share::Client, cid, range).await?;
        Ok(Part::fetched(cid, fetched))
    }
}

impl Part {
    fn fetched(cid: BlobCid, fetched: FetchedBlob) -> Self {
        let known = Known {
            cid,
            size: fetched.size,
            content_type: fetched.content_type,
            file_name: None,
        };
        Self {
            known,
            offset: fetched.offset,
            len: fetched.len,
            body: fetched.body,
        }
    }
}

impl From<BlobRead> for Part {
    fn from(read: BlobRead) -> Self {
        Self {
            known: read.info.into(),
            offset: read.offset,
            len: read.len,
            body: read.body,
        }
    }
}

fn asking(query_text: Option<&str>) -> Result<Asking, Problem> {
    if query_text.is_none() {
        return Ok(Asking::default());
    }
    let RetrieveQuery { download, local } = query(query_text)?;
    let download = download
        .map(|name| {
            disposition::clean(&name).ok_or_else(|| {
                Problem::new(
                    Code::BadQuery,
                    "download= is not a file name: expected one without directories",
                )
            })
        })
        .transpose()?;
    Ok(Asking {
        download,
        local: local == Some(Flag::On),
    })
}

/// The range to read; `None` for the whole.
async fn asked_range(
    source: &Source<'_>,
    headers: &HeaderMap,
    cid: BlobCid,
    etag: &str,
) -> Result<Option<ByteRange>, Problem> {
    let Some(value) = header_text(headers, &RANGE)? else {
        return Ok(None);
    };
    // A date or another tag: the range was meant for other bytes, so all of these are sent.
    if header_text(headers, &IF_RANGE)?.is_some_and(|tag| tag.trim() != etag) {
        return Ok(None);
    }
    match range::parse(value) {
        Asked::Whole => Ok(None),
        Asked::Part(range) => Ok(Some(range)),
        Asked::Never(why) => {
            let known = source.about(cid, true).await?;
            let value: String = value.chars().take(80).collect();
            Err(range_not_satisfiable(
                format!("range \"{value}\" cannot be served: {why}"),
                known.size,
            ))
        }
    }
}

/// The head that all answers about a blob share.
fn about(
    status: StatusCode,
    known: &Known,
    etag: &str,
    download: Option<&str>,
) -> HttpResponseBuilder {
    let content_type = known.content_type.as_deref().unwrap_or(OCTET_STREAM);
    let mut response = HttpResponse::build(status);
    response
        .insert_header((ETAG, etag))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"));
    if status == StatusCode::NOT_MODIFIED {
        return response;
    }
    let digest = STANDARD.encode(known.cid.digest().as_bytes());
    response
        .insert_header((CONTENT_TYPE, content_type))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((REPR_DIGEST, format!("sha-256=:{digest}:")));
    let shown = is_shown(content_type) && download.is_none();
    let name = download.or(known.file_name.as_deref());
    if !shown || name.is_some() {
        let kind = if shown { "inline" } else { "attachment" };
        response.insert_header((CONTENT_DISPOSITION, disposition::header(kind, name)));
    }
    response
}

fn is_shown(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    SHOWN_TYPES
        .iter()
        .any(|shown| shown.eq_ignore_ascii_case(essence))
}

/// Whether one of the tags of `If-None-Match` is ours, by weak comparison.
fn matches_any(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
