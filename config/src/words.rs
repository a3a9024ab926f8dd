//! Settings that are one word, a name or a file: choices, log levels, files of secrets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytecave_core::APP_ID_MAX_BYTES;

use crate::kinds::ListItem;
use crate::setting::Mismatch;
use crate::text_forms::{checked_text, choice, textual};

choice! {
    /// Who may store without a token.
    StoreAccess {
        /// Everyone on loopback, holders of the token elsewhere.
        Auto = "auto",
        /// Everyone.
        Open = "open",
        /// Holders of the token.
        Token = "token",
    }
}

choice! {
    /// Who may store over the network's 1.0.0 protocols and the storage links.
    P2pStoreAccess {
        /// Whoever brings a valid store authorization.
        Signed = "signed",
        /// Everyone.
        Open = "open",
        /// Nobody.
        Off = "off",
    }
}

choice! {
    /// Which peers may send replicas.
    ReplicateAccess {
        /// Peers that the registry lists.
        Registered = "registered",
        /// Every peer.
        Open = "open",
        /// Peers in `replicate_allowlist`.
        Allowlist = "allowlist",
    }
}

choice! {
    /// When a small blob is on disk; blobs above 4 MiB always are before the answer.
    Durability {
        /// Before the answer.
        Strict = "strict",
        /// Within the sync interval after it.
        Batched = "batched",
        /// When the system writes it.
        Relaxed = "relaxed",
    }
}

choice! {
    /// Form of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

choice! {
    /// When a new log file is begun.
    LogRotation {
        /// At midnight UTC.
        Daily = "daily",
        /// At the full hour.
        Hourly = "hourly",
        /// Never.
        Never = "never",
    }
}

checked_text! {
    /// What a node calls itself.
    NodeName, "a name of 1 to 64 letters, digits, '-', '_' and '.'", node_name
}

fn node_name(text: &str) -> Result<String, Mismatch> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.len() > 64 {
        return Err(Mismatch::Malformed("it is longer than 64 characters"));
    }
    if !text.bytes().all(fits) {
        return Err(Mismatch::Malformed("it holds other characters"));
    }
    Ok(text.to_owned())
}

checked_text! {
    /// A log filter in the form of `tracing`'s environment filter: levels and `module=level`, with commas.
    LogFilter,
    "a level (off, error, warn, info, debug, trace), and module=level with commas for exceptions: info,bytecave_store=debug",
    log_filter
}

checked_text! {
    /// Identifier of an application that stores through the network.
    AppId, "an application id of 1 to 128 bytes without control characters", app_id
}
impl ListItem for AppId {}

fn app_id(text: &str) -> Result<String, Mismatch> {
    // Looser than elsewhere: an application may call itself what an address cannot.
    let left_open = text.contains("...") || text.contains('…') || text.starts_with('<');
    if left_open || matches!(text, "your-app" | "your-app-id" | "your_app_id") {
        return Err(Mismatch::Placeholder);
    }
    if text.len() > APP_ID_MAX_BYTES {
        return Err(Mismatch::Malformed("it is longer than 128 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(Mismatch::Malformed("it holds control characters"));
    }
    Ok(text.to_owned())
}

/// A bare word that is no level would be taken by `tracing` as a module at its most verbose: "inof" would
/// log nothing of this node. So a bare word must be a level.
fn log_filter(text: &str) -> Result<String, Mismatch> {
    // Spans and fields in brackets hold commas of their own; tracing checks those.
    if text.contains('[') {
        return Ok(text.to_owned());
    }
    for directive in text.split(',').map(str::trim) {
        match directive.split_once('=') {
            None if is_level(directive) => {}
            None => return Err(Mismatch::Malformed("it holds a bare word that is no level")),
            Some((module, level)) if !module.is_empty() && is_level(level) => {}
            Some(_) => {
                return Err(Mismatch::Malformed(
                    "it holds an exception that is not module=level",
                ));
            }
        }
    }
    Ok(text.to_owned())
}

fn is_level(text: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"]
        .into_iter()
        .any(|level| level.eq_ignore_ascii_case(text))
}

/// Where the log is written besides the terminal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFile {
    /// [`LogFile::DEFAULT`], and nowhere in a container.
    Auto,
    /// Nowhere.
    Off,
    /// To this file.
    Path(PathBuf),
}

impl LogFile {
    /// The file of `auto`, relative to the working directory.
    pub const DEFAULT: &'static str = "logs/bytecave.log";

    /// The file to write, if any.
    pub fn path(&self, in_container: bool) -> Option<&Path> {
        match self {
            Self::Auto => (!in_container).then_some(Path::new(Self::DEFAULT)),
            Self::Off => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for LogFile {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            text if text.ends_with('/') => Err(Mismatch::Malformed("it names a directory")),
            path => Ok(Self::Path(path.into())),
        }
    }
}

textual!(LogFile, "auto, off, or the path of a file");

/// The path of a file that holds a secret. The secret itself is refused, and not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl FromStr for SecretFile {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Mismatch::Malformed("it looks like the secret itself"));
        }
        if text.contains('\0') {
            return Err(Mismatch::Malformed("it holds a NUL character"));
        }
        Ok(Self(text.into()))
    }
}

textual!(
    SecretFile,
    "the path of a file that holds the secret",
    secret by text
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_module() {
        for good in [
            "info",
            "INFO",
            "warn,bytecave_store=debug",
            "info, bytecave_http=trace",
            "off",
            "info,[request{id=1}]=debug",
        ] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for wrong in [
            "inof",
            "info,",
            "bytecave_store",
            "info,bytecave_store=loud",
            "=debug",
        ] {
            assert!(wrong.parse::<LogFilter>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_taken_for_its_file() {
        let key = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
        assert!(key.parse::<SecretFile>().is_err());
        assert!(key[2..].parse::<SecretFile>().is_err());
        let file: SecretFile = "/run/secrets/owner".parse().unwrap();
        assert_eq!(file.path(), Path::new("/run/secrets/owner"));
    }

    #[test]
    fn the_log_file_is_off_in_a_container_unless_named() {
        let at = |text: &str, in_container| {
            text.parse::<LogFile>()
                .unwrap()
                .path(in_container)
                .map(Path::to_path_buf)
        };
        assert_eq!(at("auto", false), Some(LogFile::DEFAULT.into()));
        assert_eq!(at("auto", true), None);
        assert_eq!(at("off", false), None);
        assert_eq!(at("x.log", true), Some("x.log".into()));
    }

    #[test]
    fn an_app_id_is_printable_and_filled_in() {
        for good in ["photos", "org.bytecave/photos v2", &"ä".repeat(64)] {
            assert_eq!(good.parse::<AppId>().unwrap().as_str(), good);
        }
        for placeholder in ["your-app-id", "<app id>", "my...", "…"] {
            assert_eq!(
                placeholder.parse::<AppId>(),
                Err(Mismatch::Placeholder),
                "{placeholder}"
            );
        }
        for wrong in ["a\nb", "a\u{1b}[2J", &"ä".repeat(65)] {
            assert!(
                matches!(wrong.parse::<AppId>(), Err(Mismatch::Malformed(_))),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn the_words_of_the_network_are_known() {
        for word in ["signed", "open", "off"] {
            assert_eq!(word.parse::<P2pStoreAccess>().unwrap().as_str(), word);
        }
        for word in ["registered", "open", "allowlist"] {
            assert_eq!(word.parse::<ReplicateAccess>().unwrap().as_str(), word);
        }
        assert!("everyone".parse::<P2pStoreAccess>().is_err());
        assert!("off".parse::<ReplicateAccess>().is_err());
    }

    #[test]
    fn a_node_name_is_short_and_plain() {
        assert!("cave-01.home".parse::<NodeName>().is_ok());
        for wrong in ["a b", "ä", &"x".repeat(65), "a\nb"] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong}");
        }
    }
}
