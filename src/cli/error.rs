//! Everything that can end a command, with its exit code and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use bytecave_config::Problems;
use bytecave_core::proof::Reason;
use bytecave_core::{BlobCid, IdentityError, ShardError};
use bytecave_store::engine::OpenError;
use bytecave_store::offline::OfflineError;
use serde_json::json;
use thiserror::Error;

use super::block::BadLines;
use super::client::Problem;
use super::exit::Exit;
use crate::data_dir::DataDirError;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The settings are not usable.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The data directory is not usable.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// `--url` or the settings name no address to connect to.
    #[error(
        "\"{url}\" is not the URL of a node: {reason}; expected for example http://127.0.0.1:5001"
    )]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The port is chosen by the system at each start.
    #[error(
        "http.port is 0, so the settings do not tell which port the node has: name it with --url"
    )]
    UnknownPort,
    /// `--token-file` cannot be used.
    #[error("cannot read the token from {}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    /// Nobody listens there.
    #[error("no node answers at {url}: {cause}")]
    Unreachable {
        /// The node's base URL.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {url} broke: {cause}")]
    Broken {
        /// The node's base URL.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The node said no.
    #[error("{problem}")]
    Answer {
        /// What it said.
        problem: Box<Problem>,
        /// What the user can do when the answer is about the token.
        token: Option<String>,
    },
    /// The answer is none that a node gives.
    #[error("the answer from {url} is not a node's: {reason}; is something else listening there?")]
    Strange {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The bytes do not belong to the CID.
    #[error("the bytes received are those of {actual}, not of {expected}")]
    WrongBytes {
        /// What was asked for.
        expected: BlobCid,
        /// What came.
        actual: BlobCid,
    },
    /// The node names what was sent otherwise than we do.
    #[error(
        "the node answered {answered} for {name}, but the bytes that were sent are those of {actual}"
    )]
    WrongName {
        /// The file.
        name: String,
        /// The node's answer.
        answered: BlobCid,
        /// What our own hash says.
        actual: BlobCid,
    },
    /// The target is there already.
    #[error("{} exists: {remedy}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A key is not what it should be.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// The export must begin with an empty place.
    #[error("{} is not empty: choose a new directory for the export", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes that would garble the terminal.
    #[error(
        "the blob is binary, and standard output is a terminal: choose a file with -o FILE, or insist with -o -"
    )]
    BinaryToTerminal,
    /// Keys on a terminal stay in its history.
    #[error("keys are exported to a directory, never to standard output: name a new directory")]
    KeysToStdout,
    /// Settings that have no such key.
    #[error("no setting begins with \"{0}\": `bytecave config show` lists all")]
    NoSuchKey(String),
    /// The database cannot be worked on.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// Shards that do not exist.
    #[error(transparent)]
    Shards(#[from] ShardError),
    /// A list with lines that are no CIDs.
    #[error("{}: nothing was done, since not all of it can be read: {lines}", path.display())]
    BadList {
        /// The file.
        path: PathBuf,
        /// Which lines, and why.
        lines: BadLines,
    },
    /// Stored, and not in as many copies as were asked for.
    #[error(
        "{name} is stored, with {confirmed} of the {asked} copies that were asked for; the rest are made in the background"
    )]
    FewerCopies {
        /// The file.
        name: String,
        /// Copies asked for.
        asked: u32,
        /// Copies there are.
        confirmed: u64,
    },
    /// A proof or a receipt that the node gave does not hold.
    #[error("{what} does not hold: {reason} ({})", reason.code())]
    NotProven {
        /// Of what, and by whom.
        what: String,
        /// Why not.
        reason: Reason,
    },
    /// Stored, and without the receipt that was asked for.
    #[error(
        "{name} is stored, and the node gave no receipt: it gives one for what it keeps itself, once that is durable (durability strict, or --replicas 2 and more)"
    )]
    NoReceipt {
        /// The file.
        name: String,
    },
    /// A file is not what it should be.
    #[error("{} is not {what}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's random generator failed.
    #[error(
        "the system gave no random bytes for a nonce: make one otherwise, and name it with --nonce"
    )]
    NoRandom,
    /// What cannot be undone is not done by accident.
    #[error(
        "this deletes every blob of the shards {ranges} from this node for good: confirm it with --yes"
    )]
    NotConfirmed {
        /// The shards.
        ranges: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Standard output is closed or failed.
    #[error("cannot write to standard output: {0}")]
    Stdout(#[source] io::Error),
    /// The runtime could not be started.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Some of several things failed, and each has been reported.
    #[error("{failed} of {all} failed")]
    Several {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// How the first of them would have ended the command.
        exit: Exit,
    },
}

impl CliError {
    /// A failed file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A file that is not overwritten.
    pub(crate) fn exists(path: &Path, remedy: &'static str) -> Self {
        Self::Exists {
            path: path.to_owned(),
            remedy,
        }
    }

    /// Whether the reader of our output has gone, which ends a command without a word.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the next thing would fail in the same way.
    pub(crate) fn ends_everything(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted | Self::Stdout(_) => true,
            // A blocked blob says nothing of the next one.
            Self::Answer { problem, .. } => matches!(problem.status, 401 | 403),
            _ => false,
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Settings(_)
            | Self::Url { .. }
            | Self::UnknownPort
            | Self::Token { .. }
            | Self::BinaryToTerminal
            | Self::KeysToStdout
            | Self::NoSuchKey(_)
            | Self::Shards(_)
            | Self::BadList { .. }
            | Self::Malformed { .. }
            | Self::NotConfirmed { .. } => Exit::Usage,
            Self::NotProven { .. } => Exit::NotProven,
            Self::FewerCopies { .. } => Exit::FewerCopies,
            Self::Offline(error) => exit_of_offline(error),
            Self::Unreachable { .. } | Self::Broken { .. } => Exit::Unreachable,
            Self::Answer { problem, .. } => {
                Exit::of_answer(problem.status, problem.code.as_deref())
            }
            Self::WrongBytes { .. } | Self::WrongName { .. } => Exit::Integrity,
            Self::Exists { .. }
            | Self::NotEmpty { .. }
            | Self::DataDir(DataDirError::InUse { .. }) => Exit::Conflict,
            Self::Several { exit, .. } => *exit,
            Self::Interrupted => Exit::Interrupted,
            Self::DataDir(_)
            | Self::Client(_)
            | Self::Strange { .. }
            | Self::Key { .. }
            | Self::NoReceipt { .. }
            | Self::NoRandom
            | Self::Io { .. }
            | Self::Stdout(_)
            | Self::Start(_) => Exit::Failed,
        }
    }

    /// What the user can do about it, where the message does not say so.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start a node with `bytecave run` (or `make run`), or name a running one with --url".to_owned(),
            ),
            Self::Answer { token: Some(hint), .. } => Some(hint.clone()),
            Self::Answer { problem, .. } => {
                problem.retry_after.as_ref().map(|after| format!("try again in {after} s"))
            }
            Self::WrongBytes { .. } => Some(
                "nothing was kept; try again, and if it happens again look at the node's log and disk".to_owned(),
            ),
            _ => None,
        }
    }

    /// The error for `--json`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut value = json!({ "error": self.to_string(), "exitCode": self.exit().code() });
        if let (Self::Answer { problem, .. }, Some(fields)) = (self, value.as_object_mut()) {
            fields.insert("status".to_owned(), problem.status.into());
            fields.insert("code".to_owned(), problem.code.clone().into());
            fields.insert("requestId".to_owned(), problem.request_id.clone().into());
            fields.insert("error".to_owned(), problem.detail().into());
        }
        value
    }
}

/// How a database that cannot be worked on ends the command.
fn exit_of_offline(error: &OfflineError) -> Exit {
    match error {
        OfflineError::Open(OpenError::InUse { .. }) | OfflineError::Owned { .. } => Exit::Conflict,
        OfflineError::Open(OpenError::LogDamaged { .. } | OpenError::Damaged { .. }) => {
            Exit::Integrity
        }
        OfflineError::NoRoom { .. } => Exit::Full,
        _ => Exit::Failed,
    }
}

/// An error with all its causes, as one line: reqwest's own text names only the URL.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
        assert!(CliError::Stdout(io::ErrorKind::BrokenPipe.into()).is_closed_pipe());
        assert!(!CliError::Stdout(io::ErrorKind::StorageFull.into()).is_closed_pipe());
    }

    #[test]
    fn an_answer_becomes_json_with_its_code_and_request() {
        let problem: Problem = serde_json::from_value(json!({
            "type": "about:blank", "title": "Conflict", "status": 409, "retryable": false,
            "detail": "blob bafk is pinned", "code": "pinned", "requestId": "r-1",
        }))
        .unwrap();
        let error = CliError::Answer {
            problem: Box::new(problem),
            token: None,
        };
        assert_eq!(
            error.to_json(),
            json!({ "error": "blob bafk is pinned", "exitCode": 7, "status": 409, "code": "pinned", "requestId": "r-1" })
        );
        assert_eq!(
            error.to_string(),
            "blob bafk is pinned (code pinned, request r-1)"
        );
    }

    #[test]
    fn several_failures_end_as_the_first_of_them() {
        let error = CliError::Several {
            failed: 2,
            all: 3,
            exit: Exit::NotFound,
        };
        assert_eq!(error.exit().code(), 3);
        assert_eq!(error.to_string(), "2 of 3 failed");
    }
}
