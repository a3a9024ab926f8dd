//! What the registry section holds: Ethereum addresses and JSON-RPC endpoints.

use std::fmt;
use std::str::FromStr;

use crate::kinds::ListItem;
use crate::network::is_placeholder;
use crate::setting::Mismatch;
use crate::text_forms::{checked_text, textual};

checked_text! {
    /// An Ethereum address, `0x` and 40 hex digits, its letters as they were given.
    EthAddress, "an Ethereum address: 0x and 40 hex digits", eth_address
}

fn eth_address(text: &str) -> Result<String, Mismatch> {
    if is_placeholder(text) || text == "0x" {
        return Err(Mismatch::Placeholder);
    }
    let Some(digits) = text.strip_prefix("0x") else {
        return Err(Mismatch::Malformed("it does not begin with 0x"));
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Mismatch::Malformed(
            "it holds characters that are not hex digits",
        ));
    }
    match digits.len() {
        40 if digits.bytes().all(|byte| byte == b'0') => Err(Mismatch::Placeholder),
        40 => Ok(text.to_owned()),
        64 => Err(Mismatch::Malformed(
            "it has the 64 digits of a private key or hash, not the 40 of an address",
        )),
        _ => Err(Mismatch::Malformed("it does not have 40 hex digits")),
    }
}

/// A JSON-RPC endpoint. `Display` and `Debug` show scheme and host only: path, query and user often hold a
/// key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RpcUrl(String);

impl RpcUrl {
    /// The whole URL, for the client that calls it and nobody else.
    pub fn expose(&self) -> String {
        self.0.clone()
    }
}

impl fmt::Display for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        write!(f, "{scheme}://{host}")?;
        if rest.trim_end_matches('/').len() > host.len() {
            f.write_str("/…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcUrl({self})")
    }
}

impl FromStr for RpcUrl {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        if is_placeholder(text) {
            return Err(Mismatch::Placeholder);
        }
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(Mismatch::Malformed(
                "it does not begin with http:// or https://",
            ))?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Mismatch::Malformed("it holds white space"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        if host.is_empty() || host.starts_with(':') {
            return Err(Mismatch::Malformed("it names no host"));
        }
        Ok(Self(text.to_owned()))
    }
}

textual!(
    RpcUrl,
    "the http:// or https:// address of a JSON-RPC endpoint",
    secret by expose
);
impl ListItem for RpcUrl {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_has_forty_hex_digits() {
        let good = "0x52908400098527886E0F7030069857D2E4169EE7";
        assert_eq!(good.parse::<EthAddress>().unwrap().as_str(), good);
        for placeholder in [
            "0x...",
            "0x",
            "0x0000000000000000000000000000000000000000",
            "<address>",
        ] {
            assert_eq!(
                placeholder.parse::<EthAddress>(),
                Err(Mismatch::Placeholder),
                "{placeholder}"
            );
        }
        for wrong in [
            &good[2..],
            &good[..41],
            "0xzz908400098527886E0F7030069857D2E4169EE7",
        ] {
            assert!(
                matches!(wrong.parse::<EthAddress>(), Err(Mismatch::Malformed(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_endpoint_is_shown_without_what_may_be_a_key() {
        for (url, shown) in [
            ("https://rpc.net/v3/0123secret", "https://rpc.net/…"),
            ("https://user:secret@rpc.net:8545", "https://rpc.net:8545/…"),
            (
                "http://127.0.0.1:8545?key=secret",
                "http://127.0.0.1:8545/…",
            ),
            ("http://127.0.0.1:8545/", "http://127.0.0.1:8545"),
        ] {
            let parsed: RpcUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(parsed.expose(), url);
            assert!(!format!("{parsed:?}").contains("secret"));
        }
        assert_eq!("https://...".parse::<RpcUrl>(), Err(Mismatch::Placeholder));
        for wrong in [
            "rpc.net",
            "ws://rpc.net",
            "https://",
            "https:///v3",
            "https://a b",
        ] {
            assert!(
                matches!(wrong.parse::<RpcUrl>(), Err(Mismatch::Malformed(_))),
                "{wrong}"
            );
        }
    }
}
