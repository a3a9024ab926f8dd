//! What every request has in common, before and after its route.
//!
//! Before: host and origin, the client's rate, whether the node is up, whether the route exists,
//! the token, a permit. After: the request id, CORS headers, problem documents for whatever went
//! wrong, one line for the log, the counters.
//!
//! A request that expects `100 Continue` passes [`expect`] before its body is asked for, and is
//! refused there when it would be refused anyway.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::{HttpMessage as _, Request};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{RequestHead, Response, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, VARY,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse};
use bytecave_messages::budget::{Permit, Share};
use tracing::{Instrument, Span};

use crate::access::Origin;
use crate::conn::ConnState;
use crate::endpoint::Endpoint;
use crate::problem::{Code, Problem};
use crate::routes::store::UploadHead;
use crate::state::{Phase, Shared, recovering};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken from a client.
const MAX_REQUEST_ID_LEN: usize = 128;
const ALLOWED_HEADERS: &str = "Authorization, Content-Disposition, Content-Type, If-Match, If-None-Match, If-Range, Range, X-Content-CID, X-Request-Id";
const EXPOSED_HEADERS: &str = "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Location, Repr-Digest, Retry-After, X-Request-Id";

/// What is known of a request from its head alone.
pub(crate) struct Ticket {
    endpoint: Endpoint,
    request_id: String,
    span: Span,
    begun: Instant,
    origin: Option<HeaderValue>,
}

/// A request that passed, with its permit; kept beside the request until its answer is sent.
struct Admitted {
    ticket: Ticket,
    permit: Option<Permit>,
}

/// The permit of the request in hand, for answers that outlive their handler.
pub(crate) struct HeldPermit {
    _permit: Permit,
}

impl Ticket {
    fn new(shared: &Shared, head: &RequestHead) -> Self {
        let endpoint = Endpoint::of(head.uri.path());
        let request_id = match head.headers.get(X_REQUEST_ID).map(HeaderValue::to_str) {
            Some(Ok(id)) if is_request_id(id) => id.to_owned(),
            _ => shared.request_ids.next(),
        };
        let span = tracing::info_span!(
            "request",
            method = method_label(&head.method),
            route = endpoint.pattern(),
            request_id,
            status = tracing::field::Empty,
        );
        Self {
            endpoint,
            request_id,
            span,
            begun: Instant::now(),
            origin: None,
        }
    }

    /// Decides on the request by its head alone.
    fn admit(&mut self, shared: &Shared, head: &RequestHead) -> Result<Option<Permit>, Problem> {
        let headers = &head.headers;
        shared.access.check_host(headers)?;
        if let Origin::Allowed(origin) = shared.access.check_origin(headers)? {
            self.origin = Some(origin);
        }
        if self.endpoint.is_rate_limited() {
            self.check_rate(shared, head)?;
        }
        if shared.phase() == Phase::Starting && self.endpoint != Endpoint::Live {
            return Err(recovering());
        }
        if self.endpoint == Endpoint::Unmatched {
            return Err(Problem::new(
                Code::RouteNotFound,
                "there is no such route: /openapi.json lists those there are",
            ));
        }
        if !self.endpoint.answers(&head.method) {
            let allow = self.endpoint.allow();
            return Err(Problem::new(
                Code::MethodNotAllowed,
                format!("{} answers {allow}", self.endpoint.pattern()),
            )
            .with_header(ALLOW, HeaderValue::from_static(allow)));
        }
        if head.method == Method::OPTIONS {
            return Ok(None);
        }
        shared
            .access
            .check_token(self.endpoint, &head.method, headers)?;
        if !self.endpoint.takes_permit() {
            return Ok(None);
        }
        let permit = self.span.in_scope(|| {
            shared
                .budget
                .try_acquire(Share::Client, self.endpoint.pattern())
        })?;
        Ok(Some(permit))
    }

    fn check_rate(&self, shared: &Shared, head: &RequestHead) -> Result<(), Problem> {
        let Some(limiter) = &shared.limiter else {
            return Ok(());
        };
        let peer = head.peer_addr.map(|peer| peer.ip());
        let Some(client): Option<IpAddr> = shared.access.client(peer, &head.headers) else {
            return Ok(());
        };
        limiter
            .admit(client, self.begun)
            .map_err(|wait: Duration| {
                Problem::new(
                    Code::RateLimited,
                    format!(
                        "more than {} requests per second (http.rate_limit_per_second) came from this address",
                        shared.settings.rate_limit_per_second
                    ),
                )
                .retry_after(wait)
            })
    }

    /// Adds what every answer carries, and counts it.
    fn finish(&self, shared: &Shared, response: &mut HttpResponse<BoxBody>) {
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED_HEADERS),
            );
        }
        if shared.access.answers_differ_by_origin() {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let status = response.status();
        let elapsed = self.begun.elapsed();
        shared.metrics.request(self.endpoint, status, elapsed);
        self.span.record("status", status.as_u16());
        self.span.in_scope(|| {
            let seconds = elapsed.as_secs_f64();
            // A busy or full node says so in its metrics, not once for each request in its log.
            if status == StatusCode::INTERNAL_SERVER_ERROR {
                tracing::warn!(seconds, "request failed");
            } else {
                tracing::debug!(seconds, "request answered");
            }
        });
    }

    /// The answer to a request that went wrong.
    fn answer(&self, problem: &Problem) -> HttpResponse<BoxBody> {
        self.span.in_scope(|| {
            tracing::debug!(
                code = problem.code().name(),
                detail = problem.detail(),
                "refused"
            );
        });
        problem.render(&self.request_id)
    }
}

/// Serves one request: the middleware around all routes.
pub(crate) async fn gate<B: MessageBody + 'static>(
    shared: Arc<Shared>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let conn = request.conn_data::<Rc<ConnState>>().cloned();
    if let Some(conn) = &conn {
        conn.begin();
    }
    let admitted = request.extensions_mut().remove::<Admitted>();
    let (ticket, outcome) = if let Some(Admitted { ticket, permit }) = admitted {
        (ticket, Ok(permit))
    } else {
        let mut ticket = Ticket::new(&shared, request.head());
        let outcome = ticket.admit(&shared, request.head());
        (ticket, outcome)
    };
    let has_body = has_body(request.head());
    let is_preflight = request
        .headers()
        .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let method_is_options = request.method() == Method::OPTIONS;
    let response = match outcome {
        Err(problem) => request.into_response(ticket.answer(&problem)),
        Ok(_) if method_is_options => request.into_response(options(ticket.endpoint, is_preflight)),
        Ok(permit) => {
            if let Some(permit) = permit {
                request
                    .extensions_mut()
                    .insert(HeldPermit { _permit: permit });
            }
            match next.call(request).instrument(ticket.span.clone()).await {
                Ok(response) => with_problem(response.map_into_boxed_body(), &ticket),
                Err(error) => return Err(escaped(&shared, &ticket, conn.as_deref(), error)),
            }
        }
    };
    let (request, mut response) = response.into_parts();
    ticket.finish(&shared, &mut response);
    if let Some(conn) = &conn {
        // The answer may come before the body has: what is left of it is read and dropped, for a
        // while, and the connection ends.
        if has_body && !response.status().is_success() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
            conn.drain();
        } else {
            conn.end();
        }
    }
    Ok(ServiceResponse::new(request, response))
}

/// The same for an error that left the routes without an answer, and took the request with it.
fn escaped(shared: &Shared, ticket: &Ticket, conn: Option<&ConnState>, error: Error) -> Error {
    let status = error.as_response_error().status_code();
    let mut answer = ticket.answer(&Problem::from_status(status, error.to_string()));
    ticket.finish(shared, &mut answer);
    if let Some(conn) = conn {
        conn.end();
    }
    InternalError::from_response(error, answer).into()
}

/// Turns whatever error a route or the framework produced into a problem document.
fn with_problem(response: ServiceResponse<BoxBody>, ticket: &Ticket) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let error = response.response().error();
    let problem = error.and_then(|error| error.as_error::<Problem>());
    let answer = match (problem, error) {
        (Some(problem), _) => ticket.answer(problem),
        (None, Some(error)) => ticket.answer(&Problem::from_status(status, error.to_string())),
        (None, None) => {
            let reason = status.canonical_reason().unwrap_or("unknown");
            ticket.answer(&Problem::from_status(status, reason.to_lowercase()))
        }
    };
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, answer)
}

/// Decides on a request that waits for `100 Continue`, before its body is sent.
pub(crate) fn expect(shared: &Shared, request: Request) -> Result<Request, Response<BoxBody>> {
    let mut ticket = Ticket::new(shared, request.head());
    let outcome = ticket.admit(shared, request.head()).and_then(|permit| {
        if ticket.endpoint == Endpoint::Store {
            let head = request.head();
            UploadHead::read(shared, &head.headers, head.uri.query())?;
        }
        Ok(permit)
    });
    match outcome {
        Ok(permit) => {
            request.extensions_mut().insert(Admitted { ticket, permit });
            Ok(request)
        }
        Err(problem) => {
            if let Some(conn) = request.conn_data::<Rc<ConnState>>() {
                conn.drain();
            }
            let mut answer = ticket.answer(&problem);
            ticket.finish(shared, &mut answer);
            answer.head_mut().set_connection_type(ConnectionType::Close);
            Err(answer.into())
        }
    }
}

/// The answer to OPTIONS, be it a browser's preflight or a curious client's.
fn options(endpoint: Endpoint, is_preflight: bool) -> HttpResponse<BoxBody> {
    let mut response = HttpResponse::NoContent();
    response.insert_header((ALLOW, endpoint.allow()));
    if is_preflight {
        response
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, endpoint.allow()))
            .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS))
            .insert_header((ACCESS_CONTROL_MAX_AGE, "600"));
    }
    response.finish()
}

fn has_body(head: &RequestHead) -> bool {
    head.headers.contains_key(TRANSFER_ENCODING)
        || head
            .headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0")
}

fn is_request_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID_LEN).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/=+".contains(&byte))
}

/// Methods that are not ours have one label: a stranger must not choose it.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
