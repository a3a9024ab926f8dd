//! The routes in one table: path, methods, who may ask, and whether a request takes a permit.
//!
//! The router, the gate, the metrics' labels and the OpenAPI test all read it, so a route cannot
//! exist for one of them and not for another.

use actix_web::http::Method;

/// A route, whatever its parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Endpoint {
    /// `/store`
    Store,
    /// `/retrieve/{cid}`
    Retrieve,
    /// `/health`
    Health,
    /// `/info`
    Info,
    /// `/live`
    Live,
    /// `/ready`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/blobs`
    Blobs,
    /// `/blobs/{cid}`
    Blob,
    /// `/pins/{cid}`
    Pin,
    /// `/shards`
    Shards,
    /// `/actors`
    Actors,
    /// `/peers`
    Peers,
    /// `/replication`
    Replication,
    /// `/proofs`
    Proofs,
    /// `/proofs/verify`
    VerifyProof,
    /// `/audits`
    Audits,
    /// `/openapi.json`
    OpenApi,
    /// `/admin/gc`
    Gc,
    /// `/admin/log-level`
    LogLevel,
    /// `/admin/keys/rotate`
    RotateKeys,
    /// `/admin/blocked`
    BlockedList,
    /// `/admin/blocked/{cid}`
    Blocked,
    /// `/admin/scrub`
    Scrub,
    /// `/admin/shards/plan`
    ShardPlan,
    /// `/admin/shards/apply`
    ApplyShardPlan,
    /// Anything else.
    Unmatched,
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone.
    Open,
    /// As `http.store_access` says.
    Store,
    /// Anyone on loopback, holders of the token elsewhere.
    Operator,
    /// Holders of the token, everywhere.
    Token,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Store,
        Self::Retrieve,
        Self::Health,
        Self::Info,
        Self::Live,
        Self::Ready,
        Self::Metrics,
        Self::Blobs,
        Self::Blob,
        Self::Pin,
        Self::Shards,
        Self::Actors,
        Self::Peers,
        Self::Replication,
        Self::Proofs,
        Self::VerifyProof,
        Self::Audits,
        Self::OpenApi,
        Self::Gc,
        Self::LogLevel,
        Self::RotateKeys,
        Self::BlockedList,
        Self::Blocked,
        Self::Scrub,
        Self::ShardPlan,
        Self::ApplyShardPlan,
        Self::Unmatched,
    ];

    /// The path with its parameters in braces; also the label in metrics and spans.
    pub const fn pattern(self) -> &'static str {
        match self {
            Self::Store => "/store",
            Self::Retrieve => "/retrieve/{cid}",
            Self::Health => "/health",
            Self::Info => "/info",
            Self::Live => "/live",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::Blobs => "/blobs",
            Self::Blob => "/blobs/{cid}",
            Self::Pin => "/pins/{cid}",
            Self::Shards => "/shards",
            Self::Actors => "/actors",
            Self::Peers => "/peers",
            Self::Replication => "/replication",
            Self::Proofs => "/proofs",
            Self::VerifyProof => "/proofs/verify",
            Self::Audits => "/audits",
            Self::OpenApi => "/openapi.json",
            Self::Gc => "/admin/gc",
            Self::LogLevel => "/admin/log-level",
            Self::RotateKeys => "/admin/keys/rotate",
            Self::BlockedList => "/admin/blocked",
            Self::Blocked => "/admin/blocked/{cid}",
            Self::Scrub => "/admin/scrub",
            Self::ShardPlan => "/admin/shards/plan",
            Self::ApplyShardPlan => "/admin/shards/apply",
            Self::Unmatched => "unmatched",
        }
    }

    /// The methods it answers, as `Allow` names them.
    pub const fn allow(self) -> &'static str {
        match self {
            Self::Store
            | Self::Proofs
            | Self::VerifyProof
            | Self::Gc
            | Self::RotateKeys
            | Self::Scrub
            | Self::ApplyShardPlan => "POST, OPTIONS",
            Self::Blob => "GET, HEAD, DELETE, OPTIONS",
            Self::Pin | Self::Blocked => "PUT, DELETE, OPTIONS",
            Self::LogLevel => "POST, PUT, OPTIONS",
            Self::Unmatched => "OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether it answers `method`.
    pub fn answers(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|allowed| allowed == method.as_str())
    }

    /// Who may ask it by `method`.
    pub fn access(self, method: &Method) -> Access {
        match self {
            Self::Store => Access::Store,
            Self::Retrieve
            | Self::Health
            | Self::Info
            | Self::Live
            | Self::Ready
            | Self::Proofs
            | Self::VerifyProof
            | Self::OpenApi
            | Self::Unmatched => Access::Open,
            Self::Metrics
            | Self::Blobs
            | Self::Shards
            | Self::Actors
            | Self::Peers
            | Self::Replication
            | Self::Audits => Access::Operator,
            Self::Blob if *method != Method::DELETE => Access::Operator,
            Self::Blob
            | Self::Pin
            | Self::Gc
            | Self::LogLevel
            | Self::RotateKeys
            | Self::BlockedList
            | Self::Blocked
            | Self::Scrub
            | Self::ShardPlan
            | Self::ApplyShardPlan => Access::Token,
        }
    }

    /// Whether a request counts against `actors.http.mailbox`. Those who watch the node must be
    /// answered just when it is full.
    pub const fn takes_permit(self) -> bool {
        !matches!(
            self,
            Self::Live | Self::Ready | Self::Health | Self::Metrics
        )
    }

    /// Whether a request counts against the client's rate.
    pub const fn is_rate_limited(self) -> bool {
        !matches!(self, Self::Live | Self::Ready)
    }

    /// The route of `path`.
    pub fn of(path: &str) -> Self {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let segments = [parts.next(), parts.next(), parts.next(), parts.next()];
        match segments {
            [Some("store"), None, ..] => Self::Store,
            [Some("retrieve"), Some(cid), None, _] if !cid.is_empty() => Self::Retrieve,
            [Some("health"), None, ..] => Self::Health,
            [Some("info"), None, ..] => Self::Info,
            [Some("live"), None, ..] => Self::Live,
            [Some("ready"), None, ..] => Self::Ready,
            [Some("metrics"), None, ..] => Self::Metrics,
            [Some("blobs"), None, ..] => Self::Blobs,
            [Some("blobs"), Some(cid), None, _] if !cid.is_empty() => Self::Blob,
            [Some("pins"), Some(cid), None, _] if !cid.is_empty() => Self::Pin,
            [Some("shards"), None, ..] => Self::Shards,
            [Some("actors"), None, ..] => Self::Actors,
            [Some("peers"), None, ..] => Self::Peers,
            [Some("replication"), None, ..] => Self::Replication,
            [Some("proofs"), None, ..] => Self::Proofs,
            [Some("proofs"), Some("verify"), None, _] => Self::VerifyProof,
            [Some("audits"), None, ..] => Self::Audits,
            [Some("openapi.json"), None, ..] => Self::OpenApi,
            [Some("admin"), Some("gc"), None, _] => Self::Gc,
            [Some("admin"), Some("log-level"), None, _] => Self::LogLevel,
            [Some("admin"), Some("keys"), Some("rotate"), None] => Self::RotateKeys,
            [Some("admin"), Some("blocked"), None, _] => Self::BlockedList,
            [Some("admin"), Some("scrub"), None, _] => Self::Scrub,
            [Some("admin"), Some("shards"), Some("plan"), None] => Self::ShardPlan,
            [Some("admin"), Some("shards"), Some("apply"), None] => Self::ApplyShardPlan,
            [Some("admin"), Some("blocked"), Some(cid), None] if !cid.is_empty() => Self::Blocked,
            _ => Self::Unmatched,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_leads_to_its_endpoint() {
        for (at, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, at, "{endpoint:?}");
            let path = endpoint.pattern().replace("{cid}", "bafkreix");
            assert_eq!(Endpoint::of(&path), endpoint);
            if endpoint != Endpoint::Unmatched {
                assert_eq!(Endpoint::of(&format!("{path}/")), Endpoint::Unmatched);
                assert_eq!(Endpoint::of(&format!("{path}/x/y")), Endpoint::Unmatched);
            }
        }
    }

    #[test]
    fn what_changes_something_asks_for_the_token() {
        // Neither of these changes anything, though both have a body.
        let asking = [Endpoint::Proofs, Endpoint::VerifyProof];
        let changing = Endpoint::ALL.into_iter();
        for endpoint in changing.filter(|endpoint| !asking.contains(endpoint)) {
            for method in [Method::PUT, Method::DELETE, Method::POST] {
                if endpoint.answers(&method) && endpoint != Endpoint::Store {
                    assert_eq!(endpoint.access(&method), Access::Token, "{endpoint:?}");
                }
            }
        }
    }
}
