//! `block` and `unblock`: blobs that the running node neither keeps nor gives.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytecave_core::BlobCid;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Patience};
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{json_line, line, shortened};

/// CIDs asked for at once; the most that a node gives.
const PAGE: usize = 1000;
/// Longest list file: a million CIDs with their line ends.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Bad lines that are named one by one.
const LINES_NAMED: usize = 20;
/// Characters of a bad line that are shown.
const LINE_SHOWN: usize = 40;

/// Arguments of `block`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave block bafkrei…
  bytecave block --file refused.txt
  bytecave block --list

What is stored of it is deleted, pinned or not, and neither clients nor peers can store or get it here
any more. Other nodes are not told. A list file has one CID on a line; # begins a comment. When a line
cannot be read, nothing of the list is blocked.")]
pub(crate) struct BlockArgs {
    /// CIDs, or 64 hex digits of the SHA-256
    #[arg(required_unless_present_any = ["file", "list"], value_name = "CID")]
    cids: Vec<BlobCid>,
    /// File with one CID on a line; - is standard input
    #[arg(long, value_name = "LIST")]
    file: Option<PathBuf>,
    /// List what is blocked
    #[arg(long, conflicts_with_all = ["cids", "file"])]
    list: bool,
}

/// Arguments of `unblock`.
#[derive(Debug, Args)]
#[command(after_help = "What was deleted does not come back by itself: store it again.")]
pub(crate) struct UnblockArgs {
    /// CIDs, or 64 hex digits of the SHA-256
    #[arg(required = true, value_name = "CID")]
    cids: Vec<BlobCid>,
}

/// A node's answer.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    cid: BlobCid,
    blocked: bool,
    changed: bool,
}

/// A page of the node's list.
#[derive(Debug, Deserialize)]
struct Page {
    cids: Vec<BlobCid>,
    #[serde(default)]
    next: Option<String>,
}

/// The lines of a list that cannot be read.
#[derive(Debug, Default)]
pub(crate) struct BadLines {
    named: Vec<String>,
    more: usize,
}

impl BadLines {
    fn add(&mut self, number: usize, text: &str, why: &dyn Display) {
        if self.named.len() < LINES_NAMED {
            let text = shortened(text, LINE_SHOWN);
            self.named.push(format!("line {number} ({text}): {why}"));
        } else {
            self.more += 1;
        }
    }
}

impl Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join("; "))?;
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

pub(crate) fn block(context: &Context, args: &BlockArgs) -> Result<(), CliError> {
    let mut cids = args.cids.clone();
    if let Some(path) = &args.file {
        cids.extend(read_list(path)?);
    }
    let client = context.client(Patience::WhileBytesCome)?;
    if args.list {
        return list(context, &client);
    }
    set(context, &client, &cids, true)
}

pub(crate) fn unblock(context: &Context, args: &UnblockArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    set(context, &client, &args.cids, false)
}

fn set(
    context: &Context,
    client: &Client,
    cids: &[BlobCid],
    blocked: bool,
) -> Result<(), CliError> {
    let method = if blocked { Method::PUT } else { Method::DELETE };
    block_on(context.each(cids, BlobCid::to_string, async |cid| {
        let path = ["admin", "blocked", &cid.to_string()];
        let answer: Answer = client
            .json(client.request(method.clone(), &path, &[]))
            .await?;
        let verb = match (blocked, answer.changed) {
            (true, true) => "blocked",
            (true, false) => "already blocked",
            (false, true) => "unblocked",
            (false, false) => "not blocked",
        };
        context
            .out
            .result(&answer, format_args!("{verb} {}", answer.cid))
    }))
}

fn list(context: &Context, client: &Client) -> Result<(), CliError> {
    block_on(async {
        let mut after: Option<String> = None;
        loop {
            let cursor = after.take().map(|after| ("after", after));
            let limit = ("limit", PAGE.to_string());
            let query: Vec<_> = cursor.into_iter().chain([limit]).collect();
            let page: Page = client
                .json(client.request(Method::GET, &["admin", "blocked"], &query))
                .await?;
            for cid in &page.cids {
                if context.out.json {
                    json_line(&json!({ "cid": cid }))?;
                } else {
                    line(cid)?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    })
}

fn read_list(path: &Path) -> Result<Vec<BlobCid>, CliError> {
    let read = |source: &mut dyn Read| -> io::Result<String> {
        let mut text = String::new();
        source.take(MAX_LIST_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_LIST_BYTES {
            let why = format!("a list has at most {MAX_LIST_BYTES} bytes: split it");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(text)
    };
    let text = if path == Path::new("-") {
        read(&mut io::stdin().lock())
    } else {
        File::open(path).and_then(|mut file| read(&mut file))
    };
    let text = text.map_err(CliError::io("read", path))?;
    parse_list(&text).map_err(|lines| CliError::BadList {
        path: path.to_owned(),
        lines,
    })
}

fn parse_list(text: &str) -> Result<Vec<BlobCid>, BadLines> {
    let mut cids = Vec::new();
    let mut bad = BadLines::default();
    for (at, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        match entry.parse() {
            Ok(cid) => cids.push(cid),
            Err(error) => bad.add(at + 1, entry, &error),
        }
    }
    if bad.named.is_empty() {
        Ok(cids)
    } else {
        Err(bad)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_has_cids_comments_and_empty_lines() {
        let (one, two) = (BlobCid::of(b"1"), BlobCid::of(b"2"));
        let text = format!(
            "# refused\n\n{one}\n  {}  # in hex\r\n#{one}\n",
            two.digest().to_hex()
        );
        assert_eq!(parse_list(&text).unwrap(), [one, two]);
        assert!(parse_list("").unwrap().is_empty());
        assert!(parse_list("# nothing\n").unwrap().is_empty());
    }

    #[test]
    fn every_bad_line_is_named_by_its_number() {
        let good = BlobCid::of(b"1");
        let text = format!("{good}\nnonsense\n\n{good} {good}\nx\u{1b}[2J\n");
        let bad = parse_list(&text).unwrap_err().to_string();
        for part in [
            "line 2 (nonsense): ",
            "; line 4 (",
            "; line 5 (x\u{fffd}[2J",
        ] {
            assert!(bad.contains(part), "no {part:?} in {bad}");
        }
        let many = "x\n".repeat(LINES_NAMED + 3);
        let bad = parse_list(&many).unwrap_err().to_string();
        assert!(bad.ends_with("; and 3 more"), "{bad}");
        assert!(bad.contains(&format!("line {LINES_NAMED} ")), "{bad}");
    }
}
