//! `shards`: which shards the running node keeps and what is in them.

use bytecave_core::ShardRange;
use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, json_line, line, short_size, size};

/// Commands about shards.
#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Show the running node's shards and what is in them
    Show {
        /// Also those that hold nothing
        #[arg(long)]
        all: bool,
    },
}

/// What is looked at in a node's shards.
#[derive(Debug, Deserialize)]
struct Shards {
    #[serde(rename = "shardCount")]
    count: u64,
    owned: Vec<ShardRange>,
    #[serde(rename = "shards")]
    each: Vec<Shard>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    #[serde(rename = "shard")]
    number: u64,
    owned: bool,
    blobs: u64,
    bytes: u64,
    #[serde(default)]
    dead_bytes: u64,
}

pub(crate) fn run(context: &Context, command: &ShardsCommand) -> Result<(), CliError> {
    match command {
        ShardsCommand::Show { all } => show(context, *all),
    }
}

fn show(context: &Context, all: bool) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    block_on(async {
        let value: Value = client
            .json(client.request(Method::GET, &["shards"], &[]))
            .await?;
        if context.out.json {
            return json_line(&value);
        }
        let shards = Shards::deserialize(&value).map_err(|error| CliError::Strange {
            url: client.base().to_string(),
            reason: error.to_string(),
        })?;
        line(text(&shards, all))
    })
}

fn text(shards: &Shards, all: bool) -> String {
    let ranges: Vec<String> = shards.owned.iter().map(range).collect();
    let blobs: u64 = shards.each.iter().map(|shard| shard.blobs).sum();
    let bytes: u64 = shards.each.iter().map(|shard| shard.bytes).sum();
    let strangers = shards.each.iter().filter(|shard| !shard.owned).count();
    let strangers = (strangers > 0).then(|| format!("{strangers} (kept and read, never written)"));
    let head = Fields::default()
        .with("shards", shards.count)
        .with("ours", ranges.join(", "))
        .with_some("no longer ours", strangers)
        .with("blobs", blobs)
        .with("content", size(bytes));
    let rows: Vec<String> = shards
        .each
        .iter()
        .filter(|shard| all || shard.blobs > 0 || shard.dead_bytes > 0 || !shard.owned)
        .map(row)
        .collect();
    if rows.is_empty() {
        return head.to_string();
    }
    let columns = format!(
        "{:>6}  {:>10}  {:>11}  {:>11}",
        "shard", "blobs", "content", "dead"
    );
    format!("{head}\n\n{columns}\n{}", rows.join("\n"))
}

fn row(shard: &Shard) -> String {
    format!(
        "{:>6}  {:>10}  {:>11}  {:>11}{}",
        shard.number,
        shard.blobs,
        short_size(shard.bytes),
        short_size(shard.dead_bytes),
        if shard.owned { "" } else { "  not ours" }
    )
}

fn range(range: &ShardRange) -> String {
    if range.start == range.end {
        range.start.to_string()
    } else {
        format!("{}-{}", range.start, range.end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_shards_are_left_out_and_lost_ones_are_not() {
        let shards: Shards = serde_json::from_value(json!({
            "shardCount": 16,
            "owned": [{ "start": 0, "end": 3 }, { "start": 7, "end": 7 }],
            "shards": [
                { "shard": 0, "owned": true, "blobs": 0, "bytes": 0, "deadBytes": 0 },
                { "shard": 1, "owned": true, "blobs": 2, "bytes": 2048, "deadBytes": 0 },
                { "shard": 9, "owned": false, "blobs": 0, "bytes": 0, "deadBytes": 0 },
            ],
        }))
        .unwrap();
        let text = text(&shards, false);
        assert!(text.contains("0-3, 7\n"), "{text}");
        let rows: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.contains("dead"))
            .skip(1)
            .collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows[1].ends_with("not ours"), "{text}");
        assert_eq!(
            super::text(&shards, true).lines().count(),
            text.lines().count() + 1
        );
    }
}
