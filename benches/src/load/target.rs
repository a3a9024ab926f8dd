//! What is asked of a server, and what counts as done: a ByteCave node or a DAV server.

use std::net::{SocketAddr, ToSocketAddrs as _};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use thiserror::Error;

use super::blobs::FreshBlob;
use super::options::{Options, TargetKind};
use super::upload::Upload;

/// Why the server cannot be addressed.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Not a base URL.
    #[error("\"{url}\" is not a base URL: expected http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
    },
    /// The host has no address.
    #[error("the host of {url} was not found: {cause}")]
    Host {
        /// What was given.
        url: String,
        /// What the resolver said.
        cause: std::io::Error,
    },
    /// Not a path.
    #[error("\"{path}\" is not a path: expected one that begins with a slash, such as /health")]
    Path {
        /// What was given.
        path: String,
    },
    /// The token cannot be sent.
    #[error("the token file {path} could not be used: {cause}")]
    Token {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
}

/// A server that is measured.
#[derive(Debug)]
pub(super) struct Target {
    kind: TargetKind,
    /// Where it listens.
    pub(super) address: SocketAddr,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    /// Path of the base URL, without a slash at the end.
    base: String,
    store: Uri,
    /// What --mode path asks for.
    pub(super) probe: Uri,
}

#[derive(Deserialize)]
struct StoreAnswer {
    cid: String,
}

impl Target {
    /// Looks the server at `given` up; asks it nothing yet.
    pub(super) fn new(options: &Options, given: &str) -> Result<Self, TargetError> {
        let malformed = || TargetError::Url {
            url: given.to_owned(),
        };
        let url: Uri = given.parse().map_err(|_| malformed())?;
        let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(malformed());
        };
        let host_and_port = (authority.host(), authority.port_u16().unwrap_or(80));
        let not_found = |cause| TargetError::Host {
            url: given.to_owned(),
            cause,
        };
        let address = host_and_port
            .to_socket_addrs()
            .map_err(not_found)?
            .next()
            .ok_or_else(|| not_found(std::io::ErrorKind::AddrNotAvailable.into()))?;
        let base = url.path().trim_end_matches('/').to_owned();
        let no_path = || TargetError::Path {
            path: options.path.clone(),
        };
        let probe = Some(&options.path)
            .filter(|path| path.starts_with('/'))
            .and_then(|path| format!("{base}{path}").parse().ok())
            .ok_or_else(no_path)?;
        let store = match options.replicas {
            None => Uri::from_static("/store"),
            Some(replicas) => format!("/store?replicas={replicas}")
                .parse()
                .map_err(|_| malformed())?,
        };
        Ok(Self {
            kind: options.target,
            address,
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?,
            authorization: authorization(options)?,
            base,
            store,
            probe,
        })
    }

    /// The request that stores `body`.
    pub(super) fn store(&self, blob: FreshBlob, run: u64, body: Upload) -> Request<Upload> {
        let (method, uri) = match self.kind {
            TargetKind::Bytecave => (Method::POST, self.store.clone()),
            TargetKind::Dav => (Method::PUT, self.dav_uri(blob, run)),
        };
        let mut request = self.request(method, uri, body);
        let octets = HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(CONTENT_TYPE, octets);
        request
    }

    /// The request that reads `uri`.
    pub(super) fn get(&self, uri: Uri) -> Request<Upload> {
        self.request(Method::GET, uri, Upload::nothing())
    }

    /// The request for a proof of the blob that is read at `uri`, with this nonce.
    pub(super) fn prove(&self, uri: &Uri, nonce: [u8; 32], leaves: u8) -> Request<Upload> {
        let cid = uri.path().rsplit('/').next().unwrap_or_default();
        let nonce = hex::encode(nonce);
        let asked = serde_json::json!({ "cid": cid, "nonce": nonce, "count": leaves }).to_string();
        let uri = Uri::from_static("/proofs");
        let mut request = self.request(Method::POST, uri, Upload::text(asked.into()));
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    }

    /// Where a blob that was just stored is read; `None` when the answer does not say.
    pub(super) fn stored_at(&self, blob: FreshBlob, run: u64, answer: &[u8]) -> Option<Uri> {
        match self.kind {
            TargetKind::Bytecave => {
                let answer: StoreAnswer = serde_json::from_slice(answer).ok()?;
                format!("/retrieve/{}", answer.cid).parse().ok()
            }
            TargetKind::Dav => Some(self.dav_uri(blob, run)),
        }
    }

    fn request(&self, method: Method, uri: Uri, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, self.host.clone());
        if let Some(token) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        request
    }

    fn dav_uri(&self, blob: FreshBlob, run: u64) -> Uri {
        let path = format!("{}/{run:016x}-{:08}", self.base, blob.number);
        path.parse().unwrap_or_default()
    }
}

/// Whether this is the answer to a store that succeeded; 202 says that fewer copies were made than asked for.
pub(super) fn stores(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT
    )
}

fn authorization(options: &Options) -> Result<Option<HeaderValue>, TargetError> {
    let Some(path) = &options.token_file else {
        return Ok(None);
    };
    let failed = |cause: String| TargetError::Token {
        path: path.display().to_string(),
        cause,
    };
    let token = std::fs::read_to_string(path).map_err(|cause| failed(cause.to_string()))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| failed("it holds characters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
