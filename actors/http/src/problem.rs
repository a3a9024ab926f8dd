//! Problem documents (RFC 9457): every error that a client sees.
//!
//! A handler returns a [`Problem`]; the gate adds the request id and renders it. Codes are a promise
//! to clients and stand in `docs/errors.md`, which a test compares with this list.

use std::fmt;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpResponse, ResponseError};
use bytecave_core::PeerId;
use bytecave_messages::body::BodyError;
use bytecave_messages::budget::Full;
use bytecave_messages::proof::ProofError;
use bytecave_messages::replicator::{FetchError, PlaceError, PlanError};
use bytecave_messages::store::StoreError;
use serde_json::{Map, Value, json};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $name:literal, $status:ident, $title:literal, $retryable:literal;)+) => {
        /// What went wrong, for programs: stable names.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code {
            $($(#[doc = $doc])+ $code,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// The name, as `code` gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)+ }
            }

            /// The status it is answered with.
            pub fn status(self) -> u16 {
                self.status_code().as_u16()
            }

            fn status_code(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)+ }
            }

            /// A short text for people, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)+ }
            }

            /// Whether the same request may succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$code => $retryable,)+ }
            }
        }
    };
}

codes! {
    /// Not a CID of a blob.
    BadCid = "bad_cid", BAD_REQUEST, "The CID is not the name of a blob", false;
    /// A header that cannot be read.
    BadHeader = "bad_header", BAD_REQUEST, "A header is malformed", false;
    /// A query parameter that cannot be read.
    BadQuery = "bad_query", BAD_REQUEST, "A query parameter is malformed", false;
    /// A body that cannot be read.
    BadBody = "bad_body", BAD_REQUEST, "The body is malformed", false;
    /// The body ended early.
    BodyIncomplete = "body_incomplete", BAD_REQUEST, "The body did not arrive whole", true;
    /// More copies asked for than there can be.
    ReplicasUnavailable = "replicas_unavailable", BAD_REQUEST, "So many copies cannot be made", false;
    /// A request that is wrong in another way.
    BadRequest = "bad_request", BAD_REQUEST, "The request is malformed", false;
    /// No token where one is needed.
    TokenRequired = "token_required", UNAUTHORIZED, "A token is needed", false;
    /// Another token than ours.
    TokenWrong = "token_wrong", FORBIDDEN, "The token is wrong", false;
    /// A host name that is not ours.
    HostNotAllowed = "host_not_allowed", FORBIDDEN, "The Host is not allowed", false;
    /// A web page that may not call.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "The Origin is not allowed", false;
    /// The blob is not here, nor at the peers that were asked.
    BlobNotFound = "blob_not_found", NOT_FOUND, "The blob is not stored here", true;
    /// No such route.
    RouteNotFound = "route_not_found", NOT_FOUND, "There is no such route", false;
    /// The route does not answer this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed", false;
    /// The body came too slowly.
    UploadTooSlow = "upload_too_slow", REQUEST_TIMEOUT, "The body came too slowly", true;
    /// The blob is pinned.
    Pinned = "pinned", CONFLICT, "The blob is pinned", false;
    /// Neither a length nor chunks.
    LengthRequired = "length_required", LENGTH_REQUIRED, "The length of the body is not stated", false;
    /// The blob is larger than allowed.
    BlobTooLarge = "blob_too_large", PAYLOAD_TOO_LARGE, "The blob is too large", false;
    /// The body of a request that carries no blob is too large.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large", false;
    /// A body of a kind that is not taken.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of a kind that is not taken here", false;
    /// A range outside the blob.
    RangeNotSatisfiable = "range_not_satisfiable", RANGE_NOT_SATISFIABLE, "The range cannot be served", false;
    /// Another node's shard.
    WrongShard = "wrong_shard", MISDIRECTED_REQUEST, "The blob belongs to another node's shard", false;
    /// The content is not that of the stated CID.
    CidMismatch = "cid_mismatch", UNPROCESSABLE_ENTITY, "The content does not match the stated CID", false;
    /// The operator blocked the blob.
    Blocked = "blocked", UNAVAILABLE_FOR_LEGAL_REASONS, "The blob is blocked on this node", false;
    /// A shard that cannot be handed over.
    NotInPlan = "not_in_plan", CONFLICT, "A shard is not in the plan", false;
    /// Too many requests of this client.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests", true;
    /// Too many proofs asked for.
    ProverBusy = "prover_busy", TOO_MANY_REQUESTS, "Too many proofs are asked for", true;
    /// The stored bytes are damaged.
    Damaged = "damaged", INTERNAL_SERVER_ERROR, "The blob is damaged", false;
    /// The store failed.
    StoreFailed = "store_failed", INTERNAL_SERVER_ERROR, "The store failed", true;
    /// The node failed in another way.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The node failed", true;
    /// The node is starting.
    Recovering = "recovering", SERVICE_UNAVAILABLE, "The node is starting", true;
    /// A part of the node is not ready.
    NotReady = "not_ready", SERVICE_UNAVAILABLE, "The node is not ready", true;
    /// The mailbox is full.
    MailboxFull = "mailbox_full", SERVICE_UNAVAILABLE, "The node is busy", true;
    /// The memory for uploads is in use.
    UploadsFull = "uploads_full", SERVICE_UNAVAILABLE, "Too many uploads at once", true;
    /// The store is not running.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "The store is not running", true;
    /// The part that asks peers is not running.
    PeersUnavailable = "peers_unavailable", SERVICE_UNAVAILABLE, "No peer can be asked", true;
    /// The part that makes proofs is not running.
    ProverUnavailable = "prover_unavailable", SERVICE_UNAVAILABLE, "No proof can be made", true;
    /// Peers that may have the blob did not give it in time.
    PeersTimeout = "peers_timeout", GATEWAY_TIMEOUT, "The peers did not answer", true;
    /// The store takes no writes.
    ReadOnly = "read_only", SERVICE_UNAVAILABLE, "The store is read-only", false;
    /// The quota is used up.
    QuotaReached = "quota_reached", INSUFFICIENT_STORAGE, "The storage limit is reached", false;
    /// The disk is full.
    DiskFull = "disk_full", INSUFFICIENT_STORAGE, "The disk is full", false;
    /// A part of a blob that is not here is asked for, and there is no room for the whole.
    NoRoomToFetch = "no_room_to_fetch", INSUFFICIENT_STORAGE, "There is no room to fetch the blob", true;
}

/// Most holders of a shard that a problem names: twice as many as there ever are copies.
const HOLDERS_NAMED: usize = 32;

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Further members of the document.
    members: Map<String, Value>,
}

impl Problem {
    /// `detail` says what was wrong and what would be right.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let mut problem = Self {
            code,
            detail: detail.into(),
            headers: Vec::new(),
            members: Map::new(),
        };
        if code == Code::TokenRequired || code == Code::TokenWrong {
            problem = problem.with_header(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"bytecave\""),
            );
        }
        problem
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says how long to wait, in whole seconds and at least one.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(crate) fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem that a bare status of the framework's stands for.
    pub(crate) fn from_status(status: StatusCode, detail: String) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => Code::RouteNotFound,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Code::UploadTooSlow,
            StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::Internal,
        };
        Self::new(code, detail)
    }

    /// The whole document. `instance` is left out: the request id says which occurrence it was.
    pub(crate) fn render(&self, request_id: &str) -> HttpResponse<BoxBody> {
        let mut document = json!({
            "type": format!("urn:bytecave:problem:{}", self.code.name()),
            "title": self.code.title(),
            "status": self.code.status(),
            "detail": self.detail,
            "code": self.code.name(),
            "requestId": request_id,
            "retryable": self.code.retryable(),
        });
        if let Value::Object(members) = &mut document {
            members.extend(self.members.clone());
        }
        let mut response = HttpResponse::build(self.code.status_code());
        response
            .insert_header((CONTENT_TYPE, "application/problem+json"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        response.body(document.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status_code()
    }

    /// A carrier only: the gate finds the problem in the response's error and renders it with the
    /// request's id.
    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::new(self.status_code())
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let wait = full.retry_after;
        Self::new(Code::MailboxFull, full.to_string())
            .with_member("actor", full.actor.as_str())
            .retry_after(wait)
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::Stopped { .. } => Code::BodyIncomplete,
            BodyError::TooSlow { .. } => Code::UploadTooSlow,
            BodyError::TooLarge { .. } => Code::BlobTooLarge,
            BodyError::Malformed { .. } => Code::BadBody,
            BodyError::Damaged => Code::Damaged,
            BodyError::Deleted => Code::BlobNotFound,
            BodyError::StoreFailed => Code::StoreFailed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Full(full) => full.into(),
            StoreError::Body(error) => error.into(),
            StoreError::Unavailable => {
                Self::new(Code::StoreUnavailable, detail).retry_after(Duration::from_secs(5))
            }
            StoreError::NotFound { .. } | StoreError::Deleted { .. } => {
                Self::new(Code::BlobNotFound, detail)
            }
            StoreError::Blocked { cid } => {
                Self::new(Code::Blocked, detail).with_member("cid", cid.to_string())
            }
            StoreError::NotOurShard { shard, .. } => wrong_shard(detail, shard.get(), &[]),
            StoreError::Mismatch { expected, actual } => Self::new(Code::CidMismatch, detail)
                .with_member("expected", expected.to_string())
                .with_member("actual", actual.to_string()),
            StoreError::TooLarge { limit_bytes } => {
                Self::new(Code::BlobTooLarge, detail).with_member("limitBytes", limit_bytes)
            }
            StoreError::QuotaReached { .. } => Self::new(Code::QuotaReached, detail),
            StoreError::DiskFull { .. } => Self::new(Code::DiskFull, detail),
            StoreError::RangeNotSatisfiable { size } => range_not_satisfiable(detail, size),
            StoreError::Damaged { cid } => {
                Self::new(Code::Damaged, detail).with_member("cid", cid.to_string())
            }
            StoreError::Pinned { .. } => Self::new(Code::Pinned, detail),
            StoreError::ReadOnly { .. } => Self::new(Code::ReadOnly, detail),
            // What the library said names files of the node: that is for its log, not its clients.
            StoreError::Failed { operation, cause } => {
                tracing::error!(operation, cause, "the store failed");
                Self::new(
                    Code::StoreFailed,
                    format!("{operation} failed; the node's log has the cause"),
                )
            }
        }
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        let detail = error.to_string();
        match error {
            FetchError::Full(full) => full.into(),
            FetchError::Unavailable => {
                Self::new(Code::PeersUnavailable, detail).retry_after(Duration::from_secs(5))
            }
            FetchError::NotFound { cid, asked: 0 } => Self::new(
                Code::BlobNotFound,
                format!("blob {cid} is not stored here, and no peer is known that may have it"),
            )
            .with_member("asked", 0),
            FetchError::NotFound { asked, .. } => {
                Self::new(Code::BlobNotFound, detail).with_member("asked", asked)
            }
            FetchError::TimedOut { asked, silent, .. } => Self::new(Code::PeersTimeout, detail)
                .with_member("asked", asked)
                .with_member("silent", silent),
            FetchError::RangeNotSatisfiable { size } => range_not_satisfiable(detail, size),
            FetchError::NoRoom { .. } => Self::new(Code::NoRoomToFetch, detail),
        }
    }
}

impl From<ProofError> for Problem {
    fn from(error: ProofError) -> Self {
        let detail = error.to_string();
        match error {
            ProofError::Full(full) => full.into(),
            ProofError::Unavailable => {
                Self::new(Code::ProverUnavailable, detail).retry_after(Duration::from_secs(5))
            }
            ProofError::Store(error) => error.into(),
            ProofError::Form(cause) => {
                tracing::error!(%cause, "a proof has no form");
                Self::new(Code::Internal, detail)
            }
            ProofError::Busy { retry_after } => {
                Self::new(Code::ProverBusy, detail).retry_after(retry_after)
            }
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let detail = error.to_string();
        match error {
            PlanError::Full(full) => full.into(),
            PlanError::Unavailable | PlanError::NotYet => {
                Self::new(Code::PeersUnavailable, detail).retry_after(Duration::from_secs(5))
            }
            PlanError::NotInPlan { shard } => {
                Self::new(Code::NotInPlan, detail).with_member("shard", shard.get())
            }
            PlanError::NotWritten => Self::new(Code::StoreFailed, detail),
        }
    }
}

impl From<PlaceError> for Problem {
    fn from(error: PlaceError) -> Self {
        let detail = error.to_string();
        match error {
            PlaceError::Full(full) => full.into(),
            PlaceError::Unavailable => {
                Self::new(Code::PeersUnavailable, detail).retry_after(Duration::from_secs(5))
            }
            PlaceError::NoHolder { shard, holders, .. } => {
                wrong_shard(detail, shard.get(), &holders)
            }
        }
    }
}

/// A 421: the blob belongs elsewhere, to these as far as is known.
pub(crate) fn wrong_shard(detail: String, shard: u16, holders: &[PeerId]) -> Problem {
    let holders: Vec<String> = holders
        .iter()
        .take(HOLDERS_NAMED)
        .map(PeerId::to_string)
        .collect();
    Problem::new(Code::WrongShard, detail)
        .with_member("shard", shard)
        .with_member("holders", holders)
}

/// A 416, with the size from which a right range follows.
pub(crate) fn range_not_satisfiable(detail: impl Into<String>, size: u64) -> Problem {
    let problem = Problem::new(Code::RangeNotSatisfiable, detail).with_member("size", size);
    match HeaderValue::try_from(format!("bytes */{size}")) {
        Ok(value) => problem.with_header(actix_web::http::header::CONTENT_RANGE, value),
        Err(_) => problem,
    }
}
