//! Requests to a running node, and its answers and errors as this program's. Redirects are not
//! followed, proxies of the environment are not used.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{CliError, innermost};
use super::output::{Output, printable};
use super::target::Token;

/// A node on this or another machine accepts a connection within this time or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// All of a status request; below the 5 s that the container's health check has.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(4);
/// Without a single byte for this long an answer is given up.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest answer that is not a blob; a page of 1000 blobs with the longest names is below 1 MiB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A few seconds for all of it.
    Brief,
    /// As long as bytes keep coming.
    WhileBytesCome,
    /// As long as it takes: uploads, and work on everything that is stored.
    Endless,
}

/// A node, and how it is spoken to.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Token,
    out: Output,
}

impl Client {
    /// Speaks to the node at `base`.
    pub(crate) fn new(
        base: Url,
        token: Token,
        patience: Patience,
        out: Output,
    ) -> Result<Self, CliError> {
        // A second call of the same process finds it installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("bytecave/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT);
        if base.scheme() == "http" {
            // Plain HTTP shall neither load the system's certificates nor fail where there are none.
            let unused = ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder = builder.tls_backend_preconfigured(unused);
        }
        builder = match patience {
            Patience::Brief => builder.timeout(BRIEF_TIMEOUT),
            Patience::WhileBytesCome => builder.read_timeout(IDLE_TIMEOUT),
            Patience::Endless => builder,
        };
        Ok(Self {
            http: builder.build().map_err(CliError::Client)?,
            base,
            token,
            out,
        })
    }

    /// The node's base URL.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// A request; each segment becomes one part of the path, whatever is in it.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Token::Known { secret, .. } => request.bearer_auth(secret.as_str()),
            Token::Unreadable { .. } | Token::NotSent => request,
        }
    }

    /// Sends a request; an answer other than 2xx is an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = self.send_any(request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response).await)
        }
    }

    /// Sends a request and takes any answer.
    pub(crate) async fn send_any(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let request = request.build().map_err(CliError::Client)?;
        self.out
            .trace(|| format!("> {} {}", request.method(), request.url()));
        let started = Instant::now();
        let response = self
            .http
            .execute(request)
            .await
            .map_err(|error| self.failure(&error))?;
        self.out.trace(|| {
            let id = response
                .headers()
                .get("x-request-id")
                .and_then(|id| id.to_str().ok());
            let id = id
                .map(|id| format!(", request {}", printable(id)))
                .unwrap_or_default();
            format!(
                "< {} after {} ms{id}",
                response.status(),
                started.elapsed().as_millis()
            )
        });
        Ok(response)
    }

    /// Sends a request whose answer is JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, CliError> {
        let response = self.send(request).await?;
        self.read_json(response).await
    }

    /// Reads an answer that is JSON.
    pub(crate) async fn read_json<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, CliError> {
        let url = response.url().to_string();
        let bytes = self.read(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| CliError::Strange {
            url,
            reason: error.to_string(),
        })
    }

    /// The error in an answer other than 2xx.
    pub(crate) async fn refusal(&self, response: Response) -> CliError {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let retry_after = retry_after
            .filter(|value| value.parse::<u32>().is_ok())
            .map(str::to_owned);
        let problem = self.read(response).await.ok();
        let problem = problem.and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
        let problem = Problem {
            status: status.as_u16(),
            retry_after,
            ..problem.unwrap_or_default()
        };
        let about_token = status == StatusCode::UNAUTHORIZED
            || (status == StatusCode::FORBIDDEN
                && problem
                    .code
                    .as_deref()
                    .is_some_and(|code| code.contains("token")));
        let token = about_token.then(|| self.token.hint());
        CliError::Answer {
            problem: Box::new(problem),
            token,
        }
    }

    /// What a failed exchange means.
    pub(crate) fn failure(&self, error: &reqwest::Error) -> CliError {
        let url = self.base.to_string();
        if error.is_timeout() {
            return CliError::Unreachable {
                url,
                cause: "no answer in time".to_owned(),
            };
        }
        let cause = innermost(error);
        if error.is_connect() {
            CliError::Unreachable { url, cause }
        } else {
            CliError::Broken { url, cause }
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, CliError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failure(&error))?
        {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(CliError::Strange {
                    url: response.url().to_string(),
                    reason: format!("it is longer than {MAX_ANSWER_BYTES} bytes"),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// An error as the node words it (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    title: Option<String>,
    detail: Option<String>,
    /// The stable code.
    pub(crate) code: Option<String>,
    /// The request in the node's log.
    pub(crate) request_id: Option<String>,
    /// Seconds after which to try again.
    #[serde(skip)]
    pub(crate) retry_after: Option<String>,
}

impl Problem {
    /// What was wrong, in a sentence.
    pub(crate) fn detail(&self) -> String {
        let said = self
            .detail
            .as_ref()
            .or(self.title.as_ref())
            .map(|text| printable(text));
        said.unwrap_or_else(|| {
            let reason = StatusCode::from_u16(self.status)
                .ok()
                .and_then(|status| status.canonical_reason());
            format!(
                "the answer was {} {} and gave no reason",
                self.status,
                reason.unwrap_or_default()
            )
        })
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())?;
        let code = self
            .code
            .as_ref()
            .map(|code| format!("code {}", printable(code)));
        let id = self
            .request_id
            .as_ref()
            .map(|id| format!("request {}", printable(id)));
        let known: Vec<String> = code.into_iter().chain(id).collect();
        if known.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::target::parse_url;
    use super::*;

    #[test]
    fn requests_keep_the_path_of_the_base_and_escape_what_they_get() {
        let out = Output {
            json: false,
            verbose: 0,
        };
        let base = parse_url("http://127.0.0.1:1/cave/").unwrap();
        let client = Client::new(base, Token::NotSent, Patience::Brief, out).unwrap();
        let request = client.request(
            Method::GET,
            &["blobs", "a/../b"],
            &[("after", "x&y".to_owned())],
        );
        assert_eq!(
            request.build().unwrap().url().as_str(),
            "http://127.0.0.1:1/cave/blobs/a%2F..%2Fb?after=x%26y"
        );
    }

    #[test]
    fn an_answer_without_a_reason_still_says_something() {
        let problem = Problem {
            status: 502,
            ..Problem::default()
        };
        assert_eq!(
            problem.to_string(),
            "the answer was 502 Bad Gateway and gave no reason"
        );
    }
}
