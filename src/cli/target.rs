//! Where the node is and which token it gets: both from the same settings that the node has.
//!
//! The token of the data directory goes to this machine's own node and nowhere else: a `--url` of
//! another machine gets only what `--token-file` names.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use bytecave_config::{Config, Http};
use reqwest::Url;
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::printable;

/// Longest token file that is read.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The token, or why there is none.
#[derive(Clone)]
pub(crate) enum Token {
    /// Read from this file.
    Known {
        /// The secret.
        secret: Zeroizing<String>,
        /// Its file.
        path: PathBuf,
    },
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The node is somebody else's, as far as we know.
    NotSent,
}

impl Token {
    /// Reads a token file.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut text = Zeroizing::new(String::with_capacity(
            usize::try_from(MAX_TOKEN_BYTES).unwrap_or_default(),
        ));
        File::open(path)?
            .take(MAX_TOKEN_BYTES)
            .read_to_string(&mut text)?;
        let secret = Zeroizing::new(text.trim().to_owned());
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "expected one line of printable characters",
            ));
        }
        Ok(Self::Known {
            secret,
            path: path.to_owned(),
        })
    }

    /// The own node's token, for `base`.
    pub(crate) fn of_own_node(config: &Config, base: &Url) -> Self {
        if !is_own(config, base) {
            return Self::NotSent;
        }
        let path = config.api_token_file();
        Self::read(&path).unwrap_or_else(|error| Self::Unreadable {
            path,
            reason: error.to_string(),
        })
    }

    /// What to do when the node asks for a token or refuses this one.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Known { path, .. } => {
                format!("the token from {} is not that node's: name the right file with --token-file", path.display())
            }
            Self::Unreadable { path, reason } => format!(
                "no token was sent, since {} cannot be read ({reason}): name the file with --token-file",
                path.display()
            ),
            Self::NotSent => {
                "no token was sent, since the node is not this machine's: name that node's token with --token-file".to_owned()
            }
        }
    }
}

/// Where a node with these settings listens, as seen from the same machine.
pub(crate) fn own_url(http: &Http) -> Result<Url, CliError> {
    if http.port == 0 {
        return Err(CliError::UnknownPort);
    }
    let ip = match http.host.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    parse_url(&format!("http://{}", SocketAddr::new(ip, http.port)))
}

/// A base URL: http or https, no query, no password.
pub(crate) fn parse_url(text: &str) -> Result<Url, CliError> {
    let refused = |reason: &str| CliError::Url {
        url: printable(text),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("it begins neither with http:// nor with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "it holds a user name; tokens are named by --token-file",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment"));
    }
    Ok(url)
}

/// Whether `base` is on this machine: loopback, or the address that the settings give the node.
fn is_own(config: &Config, base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    match ip {
        Ok(ip) => ip.is_loopback() || ip == config.http.host.ip(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(host: &str, port: u16) -> Config {
        let mut config = Config::built_in().unwrap();
        config.http.host = host.parse().unwrap();
        config.http.port = port;
        config
    }

    #[test]
    fn a_node_on_all_addresses_is_asked_on_loopback() {
        let cases = [
            ("0.0.0.0", "http://127.0.0.1:5001/"),
            ("::", "http://[::1]:5001/"),
            ("127.0.0.1", "http://127.0.0.1:5001/"),
            ("10.1.2.3", "http://10.1.2.3:5001/"),
        ];
        for (host, url) in cases {
            assert_eq!(own_url(&config(host, 5001).http).unwrap().as_str(), url);
        }
        assert!(matches!(
            own_url(&config("127.0.0.1", 0).http),
            Err(CliError::UnknownPort)
        ));
    }

    #[test]
    fn urls_that_are_none_of_a_node_are_refused() {
        for url in [
            "localhost:5001",
            "ftp://x/",
            "http://u:p@x/",
            "http://x/?a=b",
            "http://x/#a",
            "",
            "/x",
        ] {
            assert!(matches!(parse_url(url), Err(CliError::Url { .. })), "{url}");
        }
        assert!(parse_url("https://cave.example.org/node/").is_ok());
    }

    #[test]
    fn the_token_goes_to_this_machine_only() {
        let temp = tempfile::tempdir().unwrap();
        let mut config = config("10.1.2.3", 5001);
        config.node.data_dir = temp.path().to_owned();
        std::fs::create_dir(config.keys_dir()).unwrap();
        std::fs::write(config.api_token_file(), "0123456789abcdef\n").unwrap();
        for own in [
            "http://127.0.0.1:1",
            "http://localhost:1",
            "http://[::1]:1",
            "http://10.1.2.3:5001",
        ] {
            let token = Token::of_own_node(&config, &parse_url(own).unwrap());
            assert!(
                matches!(token, Token::Known { secret, .. } if *secret == "0123456789abcdef"),
                "{own}"
            );
        }
        for foreign in [
            "http://10.1.2.4:5001",
            "https://localhost.example.org",
            "http://127.0.0.1.example.org",
        ] {
            let token = Token::of_own_node(&config, &parse_url(foreign).unwrap());
            assert!(matches!(token, Token::NotSent), "{foreign}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("token");
        for bad in ["", "\n", "two words", "a\nb"] {
            std::fs::write(&path, bad).unwrap();
            assert!(Token::read(&path).is_err(), "{bad:?}");
        }
    }
}
