//! `/admin`: what an operator tells a running node. All of it asks for the token.

use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_messages::budget::Share;
use bytecave_messages::store::{GcReport, RotationReport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NO_STORE, ProblemDocument};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// Largest body of an admin request, in bytes.
const BODY_MAX_BYTES: usize = 4 * 1024;

/// What a collection of garbage did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GcAnswer {
    /// Shards that were compacted.
    families: usize,
    /// Dead bytes before.
    dead_bytes_before: u64,
    /// Dead bytes after.
    dead_bytes_after: u64,
}

impl From<GcReport> for GcAnswer {
    fn from(report: GcReport) -> Self {
        Self {
            families: report.families,
            dead_bytes_before: report.dead_bytes_before,
            dead_bytes_after: report.dead_bytes_after,
        }
    }
}

/// What a key rotation did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RotationAnswer {
    /// Number of the key now in use.
    key_id: u32,
    /// Records sealed again.
    resealed: u64,
}

impl From<RotationReport> for RotationAnswer {
    fn from(report: RotationReport) -> Self {
        Self {
            key_id: report.key_id,
            resealed: report.resealed,
        }
    }
}

/// What is logged from now on, until the node stops.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// `error`, `warn`, `info`, `debug` or `trace`, with exceptions per module.
    #[schema(example = "info,bytecave_store=debug")]
    level: String,
}

/// Gives the space of deleted blobs back now.
#[utoipa::path(post, path = "/admin/gc", tag = "admin", responses(
    (status = 200, description = "done", body = GcAnswer),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn collect_garbage(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let report = shared.store()?.collect_garbage(Share::Client).await;
    let report = report.map_err(|error| shared.refused(error))?;
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(GcAnswer::from(report)))
}

/// Adds a key and seals all metadata under it.
#[utoipa::path(post, path = "/admin/keys/rotate", tag = "admin", responses(
    (status = 200, description = "done", body = RotationAnswer),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn rotate_keys(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let report = shared.store()?.rotate_keys(Share::Client).await;
    let report = report.map_err(|error| shared.refused(error))?;
    tracing::info!(key_id = report.key_id, "keys rotated by request");
    Ok(HttpResponse::Ok()
        .insert_header(NO_STORE)
        .json(RotationAnswer::from(report)))
}

/// Changes what is logged.
#[utoipa::path(put, path = "/admin/log-level", tag = "admin", request_body = LogLevel, responses(
    (status = 200, description = "in force", body = LogLevel),
    (status = 400, description = "not a log filter", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 415, description = "not JSON", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn set_log_level(
    shared: web::Data<Shared>,
    wanted: web::Json<LogLevel>,
) -> Result<HttpResponse, Problem> {
    let wanted = wanted.into_inner();
    (shared.set_log_level)(&wanted.level)
        .map_err(|why| Problem::new(Code::BadBody, format!("level is not a log filter: {why}")))?;
    tracing::info!(level = wanted.level, "log level changed by request");
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(wanted))
}

/// The same by POST, which some tools send alone.
#[utoipa::path(post, path = "/admin/log-level", tag = "admin", request_body = LogLevel, responses(
    (status = 200, description = "in force", body = LogLevel),
    (status = 400, description = "not a log filter", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 415, description = "not JSON", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn post_log_level(
    shared: web::Data<Shared>,
    wanted: web::Json<LogLevel>,
) -> Result<HttpResponse, Problem> {
    set_log_level(shared, wanted).await
}

/// How JSON bodies are read, and what is said when they cannot be.
pub(crate) fn json_config() -> web::JsonConfig {
    web::JsonConfig::default()
        .limit(BODY_MAX_BYTES)
        .error_handler(|error, _: &HttpRequest| json_problem(&error).into())
}

fn json_problem(error: &actix_web::error::JsonPayloadError) -> Problem {
    use actix_web::error::JsonPayloadError as Json;
    match error {
        Json::ContentType => Problem::new(
            Code::UnsupportedMediaType,
            "the body is not declared as JSON: expected Content-Type: application/json",
        ),
        Json::Overflow { .. } | Json::OverflowKnownLength { .. } => Problem::new(
            Code::BodyTooLarge,
            format!("the body is larger than {BODY_MAX_BYTES} bytes"),
        ),
        error => Problem::new(
            Code::BadBody,
            format!("the body cannot be read as {{\"level\": \"…\"}}: {error}"),
        ),
    }
}
