//! `audits`: what the running node found when it asked others for proof.

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::proof::Outcome;
use clap::Args;
use clap::builder::PossibleValuesParser;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{json_line, line, printable, short_size, utc};
use super::scrub::Scrub;

/// Arguments of `audits`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave audits --outcome failed
  bytecave audits --peer 12D3KooW… --limit 10
  bytecave --json audits --cid bafkrei… | jq '.audits[0].evidence'

The newest first. Only `failed` blames the peer: it said that it lacks the blob, its proof was wrong, or it
gave none in several turns. `contained` is asked again; `declined` says that its operator deleted or
blocked the blob; `unsupported` speaks no protocol to ask it by.")]
pub(crate) struct AuditsArgs {
    /// Only of this peer
    #[arg(long, value_name = "PEER-ID")]
    peer: Option<PeerId>,
    /// Only of this blob
    #[arg(long)]
    cid: Option<BlobCid>,
    /// Only with this outcome
    #[arg(long, value_parser = PossibleValuesParser::new(Outcome::ALL.map(Outcome::word)))]
    outcome: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only those before this number, the first column
    #[arg(long, value_name = "N")]
    before: Option<u64>,
}

impl AuditsArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        [
            ("peer", self.peer.map(|peer| peer.to_string())),
            ("cid", self.cid.map(|cid| cid.to_string())),
            ("outcome", self.outcome.clone()),
            ("before", self.before.map(|before| before.to_string())),
            ("limit", Some(self.limit.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// What is looked at in the answer.
#[derive(Debug, Deserialize)]
struct Audits {
    #[serde(rename = "audits")]
    each: Vec<Audit>,
    #[serde(default)]
    next: Option<u64>,
    #[serde(default)]
    peers: Vec<Audited>,
    #[serde(default)]
    scrub: Option<Scrub>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audit {
    sequence: u64,
    at: u64,
    peer_id: String,
    cid: String,
    size: u64,
    outcome: String,
    #[serde(default)]
    reason: Option<String>,
    took: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audited {
    peer_id: String,
    passed: u64,
    failed: u64,
    other: u64,
    last_at: u64,
    last_outcome: String,
}

pub(crate) fn run(context: &Context, args: &AuditsArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let value: Value = block_on(async {
        client
            .json(client.request(Method::GET, &["audits"], &args.query()))
            .await
    })?;
    if context.out.json {
        return json_line(&value);
    }
    let audits = Audits::deserialize(&value).map_err(|error| CliError::Strange {
        url: client.base().to_string(),
        reason: error.to_string(),
    })?;
    line(text(&audits))
}

fn text(audits: &Audits) -> String {
    let mut parts = Vec::new();
    if let Some(scrub) = &audits.scrub {
        parts.push(scrub.fields().to_string());
    }
    if !audits.peers.is_empty() {
        let head = format!(
            "{:<52}  {:>8}  {:>8}  {:>8}  {:<20}  then",
            "peer", "passed", "failed", "other", "last"
        );
        let rows = audits.peers.iter().map(Audited::row);
        let rows: Vec<String> = std::iter::once(head).chain(rows).collect();
        parts.push(rows.join("\n"));
    }
    if audits.each.is_empty() {
        parts.push("no audits".to_owned());
    } else {
        let head = format!(
            "{:>8}  {:<20}  {:<11}  {:>8}  {:>10}  {:<52}  blob",
            "number", "at", "outcome", "took", "size", "peer"
        );
        let rows = audits.each.iter().map(Audit::row);
        let rows: Vec<String> = std::iter::once(head).chain(rows).collect();
        parts.push(rows.join("\n"));
    }
    if let Some(next) = audits.next {
        parts.push(format!("older ones: --before {next}"));
    }
    parts.join("\n\n")
}

impl Audit {
    fn row(&self) -> String {
        let why = self.reason.as_ref();
        let why = why.map(|why| format!("  ({})", printable(why)));
        format!(
            "{:>8}  {:<20}  {:<11}  {:>5} ms  {:>10}  {:<52}  {}{}",
            self.sequence,
            utc(self.at),
            printable(&self.outcome),
            self.took,
            short_size(self.size),
            printable(&self.peer_id),
            printable(&self.cid),
            why.unwrap_or_default()
        )
    }
}

impl Audited {
    fn row(&self) -> String {
        format!(
            "{:<52}  {:>8}  {:>8}  {:>8}  {:<20}  {}",
            printable(&self.peer_id),
            self.passed,
            self.failed,
            self.other,
            utc(self.last_at),
            printable(&self.last_outcome)
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn audits_peers_and_the_scrub_are_told() {
        let audits: Audits = serde_json::from_value(json!({
            "audits": [{
                "sequence": 12, "at": 0, "peerId": "12D3KooWa", "cid": "bafkreia", "size": 2048,
                "cause": "random", "outcome": "failed", "reason": "lacks\u{1b}it", "took": 31,
            }],
            "next": 12,
            "peers": [{
                "peerId": "12D3KooWa", "passed": 5, "failed": 1, "other": 0, "lastAt": 0,
                "lastOutcome": "failed",
            }],
            "scrub": { "running": true, "startedAt": 0, "blobs": 1, "bytes": 2, "damaged": 0, "totalBytes": 3 },
        }))
        .unwrap();
        let text = text(&audits);
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for row in [
            "scrub running",
            "12D3KooWa 5 1 0 1970-01-01T00:00:00Z failed",
            "12 1970-01-01T00:00:00Z failed 31 ms 2.00 KiB 12D3KooWa bafkreia (lacks\u{fffd}it)",
            "older ones: --before 12",
        ] {
            let row: Vec<&str> = row.split(' ').collect();
            assert!(words.contains(&row), "no {row:?} in {text}");
        }
    }

    #[test]
    fn a_node_that_asked_nobody_says_so() {
        let audits: Audits = serde_json::from_value(json!({ "audits": [], "next": null })).unwrap();
        assert_eq!(text(&audits), "no audits");
    }
}
