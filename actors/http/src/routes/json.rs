//! Bodies of JSON that anyone may send: bounded in bytes, read at the pace of any upload, strict.

use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use actix_web::{HttpRequest, web};
use bytecave_messages::body::BodyError;
use bytecave_messages::memory::HeldMemory;
use serde::de::DeserializeOwned;

use super::header_text;
use crate::problem::{Code, Problem};
use crate::state::Shared;
use crate::upload::{Incoming, Pace};

/// What a route takes.
pub(crate) struct Form {
    /// Longest body, in bytes.
    pub(crate) max_bytes: u64,
    /// What the body looks like, for who sent another.
    pub(crate) example: &'static str,
}

/// What came, and the memory that it takes.
pub(crate) struct Received<T> {
    pub(crate) value: T,
    _memory: HeldMemory,
}

impl Form {
    /// Reads a body. What is said when it is none begins with what it should look like.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        shared: &Shared,
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<Received<T>, Problem> {
        let len = self.admit(request)?;
        // A slow sender must not hold memory that nobody counts.
        let memory = shared.take_upload_memory(len)?;
        let pace = Pace::of(&shared.settings, self.max_bytes);
        let body = Incoming::new(payload.into_inner(), pace).collect(len).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge { .. } => self.too_large(),
            other => other.into(),
        })?;
        let value = serde_json::from_slice(&body).map_err(|error| {
            let example = self.example;
            bad_body(format!("the body cannot be read as {example}: {error}"))
        })?;
        Ok(Received {
            value,
            _memory: memory,
        })
    }

    /// The most bytes that may come, by the head alone.
    fn admit(&self, request: &HttpRequest) -> Result<u64, Problem> {
        let headers = request.headers();
        let kind = header_text(headers, &CONTENT_TYPE)?.unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        // Pages of other origins may send other types without asking first.
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "the body is not declared as JSON: expected Content-Type: application/json",
            ));
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            return Ok(self.max_bytes);
        }
        let stated = header_text(headers, &CONTENT_LENGTH)?.unwrap_or("0");
        match stated.trim().parse::<u64>() {
            Ok(len) if len <= self.max_bytes => Ok(len),
            _ => Err(self.too_large()),
        }
    }

    fn too_large(&self) -> Problem {
        let max_bytes = self.max_bytes;
        let detail = format!("the body is larger than {max_bytes} bytes");
        Problem::new(Code::BodyTooLarge, detail)
    }
}

/// A body with something wrong in it.
pub(crate) fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadBody, detail)
}
