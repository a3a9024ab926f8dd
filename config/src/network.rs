//! Addresses: where the node listens, whom it dials, whom it believes.
//!
//! Multiaddresses are checked for their form only. Which protocols exist is libp2p's to know, and this crate
//! knows no libp2p.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use bytecave_core::PeerId;
use ipnet::IpNet;

use crate::kinds::ListItem;
use crate::setting::Mismatch;
use crate::text_forms::{checked_text, textual};

/// An IP address to listen on; `localhost` is read as 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostIp(IpAddr);

impl HostIp {
    /// The address.
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for HostIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HostIp {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        if text.eq_ignore_ascii_case("localhost") {
            return Ok(Self(Ipv4Addr::LOCALHOST.into()));
        }
        text.parse()
            .map(Self)
            .map_err(|_| Mismatch::Malformed("it is not an IP address"))
    }
}

textual!(
    HostIp,
    "an IP address such as 127.0.0.1 (this machine only) or 0.0.0.0 (every interface)"
);

/// An address or network whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProxyNet(IpNet);

impl ProxyNet {
    /// Whether `ip` is in it. An IPv4 address that came in over an IPv6 socket (`::ffff:10.0.0.1`) is taken
    /// as what it is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl fmt::Display for ProxyNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl FromStr for ProxyNet {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let net = match text.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip.to_canonical()),
            Err(_) => text
                .parse::<IpNet>()
                .map_err(|_| Mismatch::Malformed("it is neither an IP address nor a network"))?,
        };
        Ok(Self(net.trunc()))
    }
}

textual!(
    ProxyNet,
    "an IP address (10.0.0.5) or a network (10.0.0.0/8)"
);
impl ListItem for ProxyNet {}

checked_text! {
    /// A host name without scheme and port, in lower case.
    HostName, "a host name without scheme and port, such as node.example.org", host_name
}
impl ListItem for HostName {}

fn host_name(text: &str) -> Result<String, Mismatch> {
    if text.len() > 253 {
        return Err(Mismatch::Malformed("it is longer than 253 characters"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !text.trim_end_matches('.').split('.').all(label) {
        return Err(Mismatch::Malformed("it is not a host name"));
    }
    Ok(text.trim_end_matches('.').to_ascii_lowercase())
}

checked_text! {
    /// An origin as a browser sends it: scheme, host, and the port unless it is the scheme's own.
    WebOrigin, "an origin such as https://app.example.org, without a path; a wildcard is not known", web_origin
}
impl ListItem for WebOrigin {}

fn web_origin(text: &str) -> Result<String, Mismatch> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or(Mismatch::Malformed(
            "it does not begin with http:// or https://",
        ))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = host_and_port(authority);
    checked_host(host)?;
    let own = if scheme == "http" { 80 } else { 443 };
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{scheme}://{host}")),
        Some(Ok(port)) if port == own => Ok(format!("{scheme}://{host}")),
        Some(Ok(port)) => Ok(format!("{scheme}://{host}:{port}")),
        Some(Err(_)) => Err(Mismatch::Malformed("its port is not a number up to 65535")),
    }
}

/// Splits what stands between `://` and the path; the port is not read yet.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
fn checked_host(host: &str) -> Result<(), Mismatch> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'));
    match bracketed {
        Some(ip) if ip.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err(Mismatch::Malformed("it holds no IPv6 address in its [ ]")),
        None => host_name(host).map(|_| ()),
    }
}

checked_text! {
    /// A multiaddress to listen on.
    ListenAddress, "a multiaddress such as /ip4/0.0.0.0/tcp/5011", multiaddress
}
impl ListItem for ListenAddress {}

/// Characters of the shortest peer id there is; host names and numbers in an address are shorter.
const PEER_ID_LEAST: usize = 40;

checked_text! {
    /// A multiaddress to dial, with the peer's id.
    PeerAddress,
    "the multiaddress of a running node with its peer id, such as /ip4/203.0.113.7/tcp/4001/p2p/ and the 52 characters of the id",
    peer_address
}
impl ListItem for PeerAddress {}

impl ListenAddress {
    /// Whether one of its parts is this protocol.
    pub(crate) fn names(&self, protocol: &str) -> bool {
        self.0.split('/').any(|part| part == protocol)
    }

    /// Whether TLS is spoken there, by a certificate of ours.
    pub(crate) fn needs_certificate(&self) -> bool {
        self.names("tls") || self.names("wss")
    }

    /// Whether it stands for all addresses of the machine and so for none that can be dialled.
    pub(crate) fn is_wildcard(&self) -> bool {
        let mut parts = self.0.split('/').skip(1);
        parts.next().is_some_and(|kind| kind.starts_with("ip"))
            && parts
                .next()
                .and_then(|ip| ip.parse::<IpAddr>().ok())
                .is_some_and(|ip| ip.is_unspecified())
    }
}

impl PeerAddress {
    /// The ids of the peers on the way, the one that is dialled last.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &str> + Clone {
        let parts = self.0.split('/');
        let pairs = parts.clone().zip(parts.skip(1));
        pairs.filter_map(|(kind, id)| (kind == "p2p" && id.len() >= PEER_ID_LEAST).then_some(id))
    }
}

checked_text! {
    /// The id of a peer.
    PeerName, "a peer id of an Ed25519 key: 12D3KooW and 44 more characters", peer_name
}
impl ListItem for PeerName {}

impl PeerName {
    /// The peer's id.
    pub fn peer_id(&self) -> Option<PeerId> {
        // The text was checked when it was made.
        self.as_str().parse().ok()
    }
}

fn peer_name(text: &str) -> Result<String, Mismatch> {
    match text.parse::<PeerId>() {
        Ok(peer) => Ok(peer.to_string()),
        Err(_) if is_placeholder(text) => Err(Mismatch::Placeholder),
        Err(_) => Err(Mismatch::Malformed("it is not a peer id of an Ed25519 key")),
    }
}

/// The WebSocket address of a relay's storage link. Refused values are not repeated: one with a password is
/// the commonest of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkUrl(String);

impl LinkUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LinkUrl {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        link_url(text).map(Self)
    }
}

textual!(
    LinkUrl,
    "a WebSocket address such as ws://203.0.113.7:4003",
    secret by as_str
);
impl ListItem for LinkUrl {}

fn link_url(text: &str) -> Result<String, Mismatch> {
    if is_placeholder(text) {
        return Err(Mismatch::Placeholder);
    }
    let rest = text
        .strip_prefix("ws://")
        .or_else(|| text.strip_prefix("wss://"))
        .ok_or(Mismatch::Malformed(
            "it does not begin with ws:// or wss://",
        ))?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Mismatch::Malformed("it holds white space"));
    }
    if rest.contains('#') {
        return Err(Mismatch::Malformed("it has a fragment"));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Mismatch::Malformed("it holds a user name or a password"));
    }
    let (host, port) = host_and_port(authority);
    if host.is_empty() {
        return Err(Mismatch::Malformed("it names no host"));
    }
    checked_host(host)?;
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(Mismatch::Malformed("its port is not a number up to 65535"));
    }
    Ok(text.to_owned())
}

/// What examples leave for the reader to fill in.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("...")
        || text.contains('…')
        || text.contains(['<', '>'])
        || [
            "example.com",
            "example.org",
            "example.net",
            "your-",
            "your_",
        ]
        .into_iter()
        .any(|mark| text.contains(mark))
}

fn multiaddress(text: &str) -> Result<String, Mismatch> {
    if is_placeholder(text) {
        return Err(Mismatch::Placeholder);
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Mismatch::Malformed("it does not begin with /"));
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Mismatch::Malformed("it holds white space"));
    }
    if rest.trim_end_matches('/').split('/').any(str::is_empty) {
        return Err(Mismatch::Malformed("it has an empty part between two /"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn peer_address(text: &str) -> Result<String, Mismatch> {
    let text = multiaddress(text)?;
    let id = text.rsplit_once("/p2p/").map(|(_, id)| id);
    match id {
        None => Err(Mismatch::Malformed("it has no /p2p/ part")),
        Some(id)
            if id.len() < PEER_ID_LEAST || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Err(Mismatch::Malformed("what follows /p2p/ is not a peer id"))
        }
        Some(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const OTHER: &str = "12D3KooWGLCTGUS4zCYunfa3epuL9qKJyqUu5qFWsmCKN6ktwaiq";

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let net: ProxyNet = "10.1.2.3/8".parse().unwrap();
        assert_eq!(net.to_string(), "10.0.0.0/8");
        assert!(net.contains("10.255.0.1".parse().unwrap()));
        assert!(net.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()));
        let one: ProxyNet = "::1".parse().unwrap();
        assert_eq!(one.to_string(), "::1");
        assert!(one.contains("::1".parse().unwrap()));
        assert!(!one.contains("::2".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "10.0.0", "proxy", "*", "10.0.0.0/"] {
            assert!(wrong.parse::<ProxyNet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_peer_address_names_the_peer() {
        let good = format!("/dns4/relay.bytecave.net/tcp/4001/p2p/{PEER}");
        assert_eq!(good.parse::<PeerAddress>().unwrap().as_str(), good);
        let placeholder = "/dns4/relay.example.com/tcp/4001/p2p/12D3KooW...";
        assert_eq!(
            placeholder.parse::<PeerAddress>(),
            Err(Mismatch::Placeholder)
        );
        for wrong in [
            "relay:4001",
            "/ip4/1.2.3.4/tcp/4001",
            "/ip4/1.2.3.4/p2p/12D3",
            "//p2p/x",
            "/ip4/1 2",
        ] {
            assert!(
                matches!(wrong.parse::<PeerAddress>(), Err(Mismatch::Malformed(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_peers_on_the_way_are_found_in_an_address() {
        let through = format!("/ip4/1.2.3.4/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{OTHER}");
        let address: PeerAddress = through.parse().unwrap();
        assert_eq!(address.peers().collect::<Vec<_>>(), [PEER, OTHER]);
        // A host that is called p2p is not the protocol.
        let odd: PeerAddress = format!("/dns4/p2p/tcp/4001/p2p/{PEER}").parse().unwrap();
        assert_eq!(odd.peers().collect::<Vec<_>>(), [PEER]);
    }

    #[test]
    fn a_listen_address_tells_what_it_needs() {
        let address = |text: &str| text.parse::<ListenAddress>().unwrap();
        assert!(address("/ip4/0.0.0.0/tcp/443/tls/ws").needs_certificate());
        assert!(address("/ip4/0.0.0.0/tcp/443/wss").needs_certificate());
        assert!(!address("/ip4/0.0.0.0/tcp/5012/ws").needs_certificate());
        assert!(address("/ip4/0.0.0.0/udp/5011/quic-v1").names("quic-v1"));
        for wildcard in ["/ip4/0.0.0.0/tcp/1", "/ip6/::/udp/1/quic-v1"] {
            assert!(address(wildcard).is_wildcard(), "{wildcard}");
        }
        for one in [
            "/ip4/203.0.113.7/tcp/1",
            "/dns4/node.bytecave.net/tcp/0.0.0.0",
            "/ip6/::1/tcp/1",
        ] {
            assert!(!address(one).is_wildcard(), "{one}");
        }
    }

    #[test]
    fn a_peer_name_is_the_id_of_an_ed25519_key() {
        let name: PeerName = PEER.parse().unwrap();
        assert_eq!(name.as_str(), PEER);
        assert_eq!(name.peer_id().unwrap().to_string(), PEER);
        for placeholder in ["12D3KooW...", "12D3KooW…", "<peer id>", "your-peer-id"] {
            assert_eq!(
                placeholder.parse::<PeerName>(),
                Err(Mismatch::Placeholder),
                "{placeholder}"
            );
        }
        for wrong in [
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "12D3KooW",
            &PEER[..51],
            &format!("/p2p/{PEER}"),
            &format!("{PEER},{OTHER}"),
        ] {
            assert!(
                matches!(wrong.parse::<PeerName>(), Err(Mismatch::Malformed(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_storage_link_is_a_websocket_address_without_a_password() {
        for good in [
            "ws://203.0.113.7:4003",
            "wss://relay.bytecave.net",
            "wss://relay.bytecave.net/links?v=1",
            "ws://[2001:db8::1]:4003/",
            "ws://localhost",
        ] {
            assert_eq!(good.parse::<LinkUrl>().unwrap().as_str(), good);
        }
        for placeholder in [
            "ws://relay.example.com:4003",
            "wss://...",
            "ws://<relay>:4003",
        ] {
            assert_eq!(
                placeholder.parse::<LinkUrl>(),
                Err(Mismatch::Placeholder),
                "{placeholder}"
            );
        }
        for wrong in [
            "relay:4003",
            "http://relay:4003",
            "ws://",
            "ws:///path",
            "ws://:4003",
            "ws://relay:99999",
            "ws://relay:",
            "ws://me:secret@relay:4003",
            "ws://relay:4003/#top",
            "ws://re lay",
            "ws://[zz]:1",
        ] {
            assert!(
                matches!(wrong.parse::<LinkUrl>(), Err(Mismatch::Malformed(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_origin_has_one_form() {
        for (text, form) in [
            ("https://App.Example.org/", "https://app.example.org"),
            ("https://a.org:443", "https://a.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(text.parse::<WebOrigin>().unwrap().as_str(), form);
        }
        for wrong in [
            "*",
            "app.example.org",
            "ftp://a",
            "https://a/b",
            "https://a:99999",
            "https://",
            "https://*.a.org",
            "http://[zz]",
        ] {
            assert!(wrong.parse::<WebOrigin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_name_has_neither_scheme_nor_port() {
        assert_eq!(
            "Node.Example.org.".parse::<HostName>().unwrap().as_str(),
            "node.example.org"
        );
        for wrong in ["http://a", "a:5001", "a b", "a..b", "*", "."] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_accepted_keeps_its_form(text in "\\PC{0,40}") {
            let _ = text.parse::<ProxyNet>();
            if let Ok(origin) = text.parse::<WebOrigin>() {
                prop_assert_eq!(origin.as_str().parse::<WebOrigin>().unwrap(), origin);
            }
            if let Ok(name) = text.parse::<HostName>() {
                prop_assert_eq!(name.as_str().parse::<HostName>().unwrap(), name);
            }
            if let Ok(link) = text.parse::<LinkUrl>() {
                prop_assert_eq!(link.as_str().parse::<LinkUrl>().unwrap(), link);
            }
            if let Ok(address) = text.parse::<ListenAddress>() {
                let _ = (address.is_wildcard(), address.needs_certificate());
                prop_assert_eq!(address.as_str().parse::<ListenAddress>().unwrap(), address);
            }
        }
    }
}
