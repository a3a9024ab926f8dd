//! `ls`, `stat`, `rm` and `pin`: what the running node keeps, and for how long.

use bytecave_core::BlobCid;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, json_line, line, printable, short_size, size, utc};

/// Blobs asked for at once; the most that a node gives.
const PAGE: usize = 1000;

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave ls --limit 20
  bytecave ls -q --shard 7 | xargs bytecave stat
  bytecave --json ls | jq -r 'select(.size > 1000000) | .cid'

The order is the node's own (by shard, then by a key that tells nothing of the content).")]
pub(crate) struct LsArgs {
    /// Only this shard
    #[arg(long, value_name = "N")]
    shard: Option<u16>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only the CIDs
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of `stat`.
#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    /// CIDs, or 64 hex digits of the SHA-256
    #[arg(required = true, value_name = "CID")]
    cids: Vec<BlobCid>,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
#[command(after_help = "A pinned blob is not deleted: unpin it first (bytecave pin --remove CID).")]
pub(crate) struct RmArgs {
    /// CIDs, or 64 hex digits of the SHA-256
    #[arg(required = true, value_name = "CID")]
    cids: Vec<BlobCid>,
}

/// Arguments of `pin`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// CIDs, or 64 hex digits of the SHA-256
    #[arg(required = true, value_name = "CID")]
    cids: Vec<BlobCid>,
    /// Stop protecting them
    #[arg(long)]
    remove: bool,
}

/// A page of the node's list.
#[derive(Debug, Deserialize)]
struct Page {
    blobs: Vec<Blob>,
    #[serde(default)]
    next: Option<String>,
}

/// What is looked at in a blob's description, and all the rest for `--json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    cid: BlobCid,
    size: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Blob {
    fn text(&self, name: &str) -> Option<String> {
        match self.rest.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(printable(text)),
            other => Some(other.to_string()),
        }
    }

    fn is(&self, name: &str) -> bool {
        self.rest.get(name) == Some(&Value::Bool(true))
    }

    fn created(&self) -> Option<String> {
        self.rest.get("createdMs").and_then(Value::as_u64).map(utc)
    }

    /// One column: what is special about it.
    fn marks(&self) -> &'static str {
        match (self.is("pinned"), self.is("quarantined")) {
            (false, false) => "",
            (true, false) => "pinned",
            (false, true) => "damaged",
            (true, true) => "pinned, damaged",
        }
    }

    fn row(&self) -> String {
        let name = self.text("fileName").unwrap_or_default();
        let created = self.created().unwrap_or_default();
        let row = format!(
            "{}  {:>10}  {created:<20}  {:<7}  {name}",
            self.cid,
            short_size(self.size),
            self.marks()
        );
        row.trim_end().to_owned()
    }
}

pub(crate) fn list(context: &Context, args: &LsArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    block_on(async {
        let mut left = args.limit.unwrap_or(usize::MAX);
        let mut after: Option<String> = None;
        while left > 0 {
            let shard = args.shard.map(|shard| ("shard", shard.to_string()));
            let cursor = after.take().map(|after| ("after", after));
            let limit = ("limit", left.min(PAGE).to_string());
            let query: Vec<_> = shard.into_iter().chain(cursor).chain([limit]).collect();
            let page: Page = client
                .json(client.request(Method::GET, &["blobs"], &query))
                .await?;
            for blob in page.blobs.iter().take(left) {
                show_row(context, args, blob)?;
            }
            left = left.saturating_sub(page.blobs.len());
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(())
    })
}

fn show_row(context: &Context, args: &LsArgs, blob: &Blob) -> Result<(), CliError> {
    match (context.out.json, args.quiet) {
        (true, _) => json_line(blob),
        (false, true) => line(blob.cid),
        (false, false) => line(blob.row()),
    }
}

pub(crate) fn stat(context: &Context, args: &StatArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    block_on(context.each(&args.cids, BlobCid::to_string, async |cid| {
        let blob: Blob = client
            .json(client.request(Method::GET, &["blobs", &cid.to_string()], &[]))
            .await?;
        let marks = Some(blob.marks()).filter(|marks| !marks.is_empty());
        let fields = Fields::default()
            .with("cid", blob.cid)
            .with("sha256", blob.cid.digest().to_hex())
            .with("size", size(blob.size))
            .with_some("name", blob.text("fileName"))
            .with_some("type", blob.text("contentType"))
            .with_some("created", blob.created())
            .with_some(
                "on disk",
                blob.rest
                    .get("sealedSize")
                    .and_then(Value::as_u64)
                    .map(size),
            )
            .with_some("shard", blob.text("shard"))
            .with_some("blobRoot", blob.text("blobRoot"))
            .with_some("state", marks);
        context.out.result(&blob, fields)
    }))
}

pub(crate) fn remove(context: &Context, args: &RmArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    block_on(context.each(&args.cids, BlobCid::to_string, async |cid| {
        client
            .send(client.request(Method::DELETE, &["blobs", &cid.to_string()], &[]))
            .await?;
        context.out.result(
            &json!({ "cid": cid, "deleted": true }),
            format_args!("deleted {cid}"),
        )
    }))
}

pub(crate) fn pin(context: &Context, args: &PinArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let (method, verb) = if args.remove {
        (Method::DELETE, "unpinned")
    } else {
        (Method::PUT, "pinned")
    };
    block_on(context.each(&args.cids, BlobCid::to_string, async |cid| {
        client
            .send(client.request(method.clone(), &["pins", &cid.to_string()], &[]))
            .await?;
        context.out.result(
            &json!({ "cid": cid, "pinned": !args.remove }),
            format_args!("{verb} {cid}"),
        )
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_row_shows_what_matters_and_json_keeps_all() {
        let cid = BlobCid::of(b"x");
        let given = json!({
            "cid": cid, "size": 2048, "shard": 3, "createdMs": 1_767_225_599_000_u64,
            "pinned": true, "quarantined": false, "fileName": "a\u{1b}b", "later": [1],
        });
        let blob: Blob = serde_json::from_value(given.clone()).unwrap();
        assert_eq!(
            blob.row(),
            format!("{cid}    2.00 KiB  2025-12-31T23:59:59Z  pinned   a\u{fffd}b")
        );
        assert_eq!(serde_json::to_value(&blob).unwrap(), given);
    }
}
