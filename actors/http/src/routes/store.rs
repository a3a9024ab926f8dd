//! `POST /store`.

use actix_web::http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
    LOCATION, TRANSFER_ENCODING,
};
use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_core::BlobCid;
use bytecave_core::proof::{Receipt, StoredBlob};
use bytecave_messages::body::{BlobBody, stream};
use bytecave_messages::budget::Share;
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::store::{Durability, InTransit, NewBlob, StoreError, Stored, Word};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::place::{Outcome, Taken, Wanted, check_reach, foreign};
use super::shapes::ReceiptShape;
use super::{NO_STORE, ProblemDocument, Replicas, header_text, now_ms, query};
use crate::disposition;
use crate::multipart::{self, FRAMING_MAX_BYTES, FilePart};
use crate::problem::{Code, Problem};
use crate::state::Shared;
use crate::upload::{Incoming, Pace, WHOLE_MAX_BYTES, feed};

const X_CONTENT_CID: HeaderName = HeaderName::from_static("x-content-cid");
/// Longest Content-Type that is kept.
const MAX_CONTENT_TYPE_LEN: usize = 255;

/// A blob is stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoreAnswer {
    /// `CIDv1`, raw, sha2-256: `bafkrei…`.
    #[schema(value_type = String, example = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4")]
    cid: BlobCid,
    /// Bytes of content.
    size: u64,
    /// Always: blobs are sealed before they reach the disk.
    encrypted: bool,
    /// The blob's shard.
    shard: u16,
    /// Root of the blob's tree, 64 hex digits.
    blob_root: String,
    /// Commitment to size and root, 64 hex digits.
    commitment: String,
    /// How durable it was when this was answered: `strict`, `batched` or `relaxed`. Of another node's
    /// shard, as those who keep it said.
    #[schema(value_type = String, example = "strict")]
    durability: Durability,
    /// Its copies. A store that waits for none of them counts this node's alone.
    replicas: Replicas,
    /// This node's signed word that it has the blob durably, to be kept by the client. Absent when it has
    /// not: of another node's shard, and while `durability` is not `strict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReceiptShape>)]
    receipt: Option<Receipt>,
}

impl StoreAnswer {
    fn of(stored: &Stored, outcome: &Outcome, receipt: Option<Receipt>) -> Self {
        Self {
            cid: stored.cid,
            size: stored.size,
            encrypted: true,
            shard: stored.shard.get(),
            blob_root: hex::encode(stored.blob_root.as_bytes()),
            commitment: hex::encode(stored.commitment.as_bytes()),
            durability: outcome.durability,
            replicas: outcome.replicas,
            receipt,
        }
    }
}

/// What the head of an upload says, checked.
pub(crate) struct UploadHead {
    /// `None` when the body comes in chunks.
    len: Option<u64>,
    content_type: Option<String>,
    file_name: Option<String>,
    expected: Option<BlobCid>,
    wanted: Wanted,
    /// The boundary, when the body is a form.
    boundary: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreQuery {
    replicas: Option<u32>,
}

impl UploadHead {
    /// Reads and checks everything that can be known before the body.
    pub(crate) fn read(
        shared: &Shared,
        headers: &HeaderMap,
        query_text: Option<&str>,
    ) -> Result<Self, Problem> {
        let StoreQuery { replicas } = query(query_text)?;
        let wanted = Wanted::read(shared, replicas)?;
        check_encoding(headers)?;
        let content_type = header_text(headers, &CONTENT_TYPE)?.map(str::trim);
        let boundary = boundary(content_type)?;
        let limit = shared.settings.max_blob_bytes;
        let len = body_length(headers)?;
        let allowed = match boundary {
            Some(_) => limit.saturating_add(FRAMING_MAX_BYTES),
            None => limit,
        };
        if len.is_some_and(|len| len > allowed) {
            return Err(StoreError::TooLarge { limit_bytes: limit }.into());
        }
        let expected = expected(shared, headers)?;
        let file_name = headers
            .get(CONTENT_DISPOSITION)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
            .and_then(disposition::file_name);
        Ok(Self {
            len,
            content_type: content_type.map(checked_type).transpose()?,
            file_name,
            expected,
            wanted,
            boundary,
        })
    }

    /// Whether the body is collected before it is handed on.
    fn is_small(&self) -> bool {
        self.len.is_some_and(|len| len <= WHOLE_MAX_BYTES)
    }

    /// The part of the memory for uploads that it takes.
    fn take_memory(&self, shared: &Shared) -> Result<HeldMemory, Problem> {
        let bytes = self.len.unwrap_or(WHOLE_MAX_BYTES).min(WHOLE_MAX_BYTES);
        shared.take_upload_memory(bytes)
    }
}

/// Stores a blob.
///
/// The body is the blob, of any content type, or a form with one file. `Content-Type` and the file
/// name of `Content-Disposition` are kept and given back.
#[utoipa::path(
    post,
    path = "/store",
    tag = "blobs",
    params(
        ("replicas" = Option<u32>, Query, description = "durable copies to wait for, 1 to `replication.factor`; 1 when left out"),
        ("X-Content-CID" = Option<String>, Header, description = "what the content must be; another content is a 422"),
        ("Content-Disposition" = Option<String>, Header, description = "a file name to keep"),
    ),
    request_body(content(
        ("application/octet-stream"),
        ("multipart/form-data"),
    )),
    responses(
        (status = 201, description = "stored", body = StoreAnswer),
        (status = 200, description = "the same content was here already", body = StoreAnswer),
        (status = 202, description = "stored, and with fewer copies than asked for when the time was up; the rest follow", body = StoreAnswer),
        (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 408, description = "the body came too slowly", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 411, description = "neither Content-Length nor chunks", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "too large", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "a kind of body that is not taken", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 421, description = "another node's shard, and none that keeps it took the blob", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "not the content of X-Content-CID", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "too many requests", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 451, description = "blocked on this node", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "busy or starting; Retry-After says how long to wait", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 504, description = "another node's shard, and none that keeps it had stored the blob in time", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "quota or disk full", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn store(
    request: HttpRequest,
    shared: web::Data<Shared>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let head = UploadHead::read(&shared, request.headers(), request.uri().query())?;
    // Held until the store has answered: until then the bytes are in memory.
    let memory = head.take_memory(&shared)?;
    let wanted = head.wanted;
    let mut taken = match head.boundary.clone() {
        Some(boundary) => store_form(&shared, head, &boundary, payload).await,
        None => store_raw(&shared, head, payload).await,
    }?;
    let receipt = receipt(&shared, &taken.stored);
    // While others are waited for, only a blob on its way to them is still in memory.
    let memory = match taken.stored.transit {
        Some(InTransit::Memory(_)) => Some(memory),
        Some(InTransit::Disk(_)) | None => {
            drop(memory);
            None
        }
    };
    let outcome = wanted.reach(&shared, &mut taken).await?;
    drop(memory);
    Ok(HttpResponse::build(outcome.status)
        .insert_header(NO_STORE)
        .insert_header((LOCATION, format!("/retrieve/{}", taken.stored.cid)))
        .json(StoreAnswer::of(&taken.stored, &outcome, receipt)))
}

/// What is signed of a blob that was just stored. Its time is that of this store, also when the blob was
/// here before: when a stranger first brought it is nobody's business.
fn receipt(shared: &Shared, stored: &Stored) -> Option<Receipt> {
    if stored.transit.is_some() || stored.durability != Durability::Strict {
        return None;
    }
    let blob = StoredBlob {
        cid: stored.cid,
        size: stored.size,
        commitment: stored.commitment,
        stored_at_ms: now_ms(),
    };
    let signed = Receipt::sign(&shared.signer, &shared.identity.node_id, blob);
    signed
        .inspect_err(|error| tracing::error!(%error, "no receipt was signed"))
        .ok()
}

async fn store_raw(
    shared: &Shared,
    head: UploadHead,
    payload: web::Payload,
) -> Result<Taken, Problem> {
    let pace = Pace::of(&shared.settings, shared.settings.max_blob_bytes);
    let incoming = Incoming::new(payload.into_inner(), pace);
    let small = head.is_small();
    let (len, mut blob) = head.into_blob(shared);
    if let (Some(len), true) = (len, small) {
        blob.body = BlobBody::Whole(incoming.collect(len).await?);
        return put(shared, blob).await;
    }
    let (sender, body) = stream(len);
    blob.body = BlobBody::Stream(body);
    feed(incoming.stream(sender), put(shared, blob)).await
}

async fn store_form(
    shared: &Shared,
    head: UploadHead,
    boundary: &str,
    payload: web::Payload,
) -> Result<Taken, Problem> {
    let limit = shared.settings.max_blob_bytes;
    let pace = Pace::of(&shared.settings, limit.saturating_add(FRAMING_MAX_BYTES));
    let incoming = Incoming::new(payload.into_inner(), pace);
    let (pump, form) = multipart::open(incoming, boundary, limit);
    let small = head.is_small();
    let (_, mut blob) = head.into_blob(shared);
    let parse = async {
        let part = FilePart::find(form, limit).await?;
        blob.content_type = part.content_type.as_deref().map(checked_type).transpose()?;
        blob.file_name = part.file_name.clone();
        if small {
            blob.body = BlobBody::Whole(part.collect().await?);
            return put(shared, blob).await;
        }
        let (sender, body) = stream(None);
        blob.body = BlobBody::Stream(body);
        feed(part.stream(sender), put(shared, blob)).await
    };
    feed(pump, parse).await
}

async fn put(shared: &Shared, blob: NewBlob) -> Result<Taken, Problem> {
    let store = shared.store()?;
    let content_type = blob.content_type.clone();
    let put = store.put(Share::Client, blob).await;
    let stored = put.map_err(|error| match error {
        // The stream's own limit is the setting's, and the setting is what the client can be
        // told of.
        StoreError::Body(bytecave_messages::body::BodyError::TooLarge { limit_bytes }) => {
            StoreError::TooLarge { limit_bytes }.into()
        }
        error => shared.refused(error),
    })?;
    Ok(Taken {
        stored,
        content_type,
    })
}

impl UploadHead {
    /// The stated length, and the blob without its bytes.
    fn into_blob(self, shared: &Shared) -> (Option<u64>, NewBlob) {
        let blob = NewBlob {
            body: BlobBody::Whole(bytes::Bytes::new()),
            expected: self.expected,
            content_type: self.content_type,
            file_name: self.file_name,
            word: Word::Client,
            durable: self.wanted.is_durable(),
            foreign: foreign(shared),
        };
        (self.len, blob)
    }
}

/// Blobs are kept as they come: compressed bytes would be given back without saying so.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match header_text(headers, &CONTENT_ENCODING)?.map(str::trim) {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(Problem::new(
            Code::UnsupportedMediaType,
            "Content-Encoding is not taken: send the bytes as they shall be kept, without it",
        )),
    }
}

/// The boundary of a form; `None` for any other body, which is the blob itself.
fn boundary(content_type: Option<&str>) -> Result<Option<String>, Problem> {
    let essence = content_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match (essence.as_str(), content_type) {
        ("multipart/form-data", Some(content_type)) => Ok(Some(multipart::boundary(content_type)?)),
        (other, _) if other.starts_with("multipart/") => Err(Problem::new(
            Code::UnsupportedMediaType,
            "of multipart bodies only multipart/form-data is taken",
        )),
        _ => Ok(None),
    }
}

fn body_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Ok(None);
    }
    let Some(text) = header_text(headers, &CONTENT_LENGTH)? else {
        return Err(Problem::new(
            Code::LengthRequired,
            "the body has neither Content-Length nor chunks: an empty blob is stored with Content-Length: 0",
        ));
    };
    text.trim().parse().map(Some).map_err(|_| {
        Problem::new(
            Code::BadHeader,
            "Content-Length is not a number of bytes below 2^64",
        )
    })
}

fn expected(shared: &Shared, headers: &HeaderMap) -> Result<Option<BlobCid>, Problem> {
    let Some(text) = header_text(headers, &X_CONTENT_CID)? else {
        return Ok(None);
    };
    let cid: BlobCid = text
        .trim()
        .parse()
        .map_err(|error| Problem::new(Code::BadCid, format!("X-Content-CID: {error}")))?;
    if let Some(shard) = shared.view().and_then(|view| view.foreign_shard(&cid)) {
        check_reach(shared, cid, shard)?;
    }
    Ok(Some(cid))
}

/// A media type that can be given back as a header.
fn checked_type(text: &str) -> Result<String, Problem> {
    if text.len() <= MAX_CONTENT_TYPE_LEN && text.parse::<mime::Mime>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(Problem::new(
        Code::BadHeader,
        format!(
            "Content-Type is not a media type of at most {MAX_CONTENT_TYPE_LEN} characters, such as image/png"
        ),
    ))
}
