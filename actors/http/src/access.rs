//! Who may ask: hosts, origins, the token, and the address a request counts for.

use std::net::IpAddr;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use bytecave_config::{ProxyNet, StoreAccess};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::endpoint::{Access, Endpoint};
use crate::options::HttpSettings;
use crate::problem::{Code, Problem};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The rules, decided once at start.
pub(crate) struct AccessRules {
    loopback: bool,
    store_needs_token: bool,
    allowed_hosts: Vec<String>,
    cors_origins: Vec<String>,
    trusted_proxies: Vec<ProxyNet>,
    token: Zeroizing<String>,
}

/// What a request's `Origin` is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No web page asks, or one of our own.
    Own,
    /// A web page named in `http.cors_origins`: the answer says that it may read it.
    Allowed(HeaderValue),
}

impl AccessRules {
    pub(crate) fn new(settings: &HttpSettings, token: Zeroizing<String>) -> Self {
        let loopback = settings.counts_as_loopback();
        Self {
            loopback,
            store_needs_token: match settings.store_access {
                StoreAccess::Auto => !loopback,
                StoreAccess::Open => false,
                StoreAccess::Token => true,
            },
            allowed_hosts: settings.allowed_hosts.clone(),
            cors_origins: settings.cors_origins.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            token,
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Whether a cache must keep answers to different pages apart.
    pub(crate) fn answers_differ_by_origin(&self) -> bool {
        !self.cors_origins.is_empty()
    }

    pub(crate) fn store_needs_token(&self) -> bool {
        self.store_needs_token
    }

    /// Refuses names that are not ours: a web page whose name was rebound to this address sends the
    /// page's name.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(HOST);
        let host = match (hosts.next(), hosts.next()) {
            // HTTP/1.0 knows no Host, and browsers always send one.
            (None, _) => return Ok(()),
            (Some(host), None) => host,
            (Some(_), Some(_)) => {
                return Err(Problem::new(Code::BadHeader, "there is more than one Host"));
            }
        };
        let host = host.to_str().unwrap_or_default();
        let name = host_without_port(host);
        if is_local_or_literal(name)
            || self
                .allowed_hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(name.trim_end_matches('.')))
        {
            return Ok(());
        }
        Err(Problem::new(
            Code::HostNotAllowed,
            format!(
                "host \"{}\" is not one of this node's: expected localhost, an IP address, or a name listed in http.allowed_hosts",
                shortened(host)
            ),
        ))
    }

    /// Refuses web pages that are neither ours nor allowed.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<Origin, Problem> {
        let Some(value) = headers.get(ORIGIN) else {
            return Ok(Origin::Own);
        };
        let origin = value.to_str().unwrap_or_default();
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if let (Some(authority), Some(host)) = (authority, host)
            && authority.eq_ignore_ascii_case(host)
        {
            return Ok(Origin::Own);
        }
        if self
            .cors_origins
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return Ok(Origin::Allowed(value.clone()));
        }
        Err(Problem::new(
            Code::OriginNotAllowed,
            format!(
                "pages of origin \"{}\" may not call this node: expected its own origin or one listed in http.cors_origins",
                shortened(origin)
            ),
        ))
    }

    /// Asks for the token where the route does.
    pub(crate) fn check_token(
        &self,
        endpoint: Endpoint,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let needed = match endpoint.access(method) {
            Access::Open => false,
            Access::Store => self.store_needs_token,
            Access::Operator => !self.loopback,
            Access::Token => true,
        };
        if !needed {
            return Ok(());
        }
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match given {
            None => Err(Problem::new(
                Code::TokenRequired,
                "this needs the token of keys/api-token: send it as \"Authorization: Bearer …\"",
            )),
            Some(given) if given.as_bytes().ct_eq(self.token.as_bytes()).into() => Ok(()),
            Some(_) => Err(Problem::new(
                Code::TokenWrong,
                "the token is not the one in keys/api-token of this node",
            )),
        }
    }

    /// The address a request counts for: the peer, or, when that is a trusted proxy, the last
    /// address of `X-Forwarded-For` that is not one.
    pub(crate) fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer?;
        if !self.is_trusted(client) {
            return Some(client);
        }
        let forwarded: Vec<&str> = headers
            .get_all(X_FORWARDED_FOR)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for hop in forwarded.iter().rev() {
            let Some(address) = hop_address(hop.trim()) else {
                break;
            };
            client = address;
            if !self.is_trusted(address) {
                break;
            }
        }
        Some(client)
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|proxy| proxy.contains(address))
    }
}

fn hop_address(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .or_else(|_| host_without_port(hop).trim_matches(['[', ']']).parse())
        .ok()
}

/// Host names and addresses, brackets included, without the port.
fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn is_local_or_literal(name: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost.") {
        return true;
    }
    match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

/// Enough of a stranger's text to recognise it by.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (host, name) in [
            ("localhost:5001", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:5001", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
        ] {
            assert_eq!(host_without_port(host), name);
        }
        for local in ["localhost", "LOCALHOST", "10.1.2.3", "[2001:db8::1]"] {
            assert!(is_local_or_literal(local), "{local}");
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example",
            "1.2.3",
            "::1",
            "[x]",
        ] {
            assert!(!is_local_or_literal(foreign), "{foreign}");
        }
    }

    #[test]
    fn addresses_of_hops() {
        assert_eq!(hop_address("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(hop_address("192.0.2.1:4711"), "192.0.2.1".parse().ok());
        assert_eq!(
            hop_address("[2001:db8::1]:4711"),
            "2001:db8::1".parse().ok()
        );
        assert_eq!(hop_address("2001:db8::1"), "2001:db8::1".parse().ok());
        assert_eq!(hop_address("unknown"), None);
    }
}
