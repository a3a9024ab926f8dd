//! `gc` and `log-level`: what an operator tells the running node.

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{printable, size};

/// Arguments of `log-level`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave log-level debug
  bytecave log-level info,bytecave_store=trace

The change lasts until the node stops; the setting log.level is for good.")]
pub(crate) struct LogLevelArgs {
    /// off, error, warn, info, debug or trace, with exceptions per module
    level: String,
}

/// What a garbage collection did.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GcReport {
    families: u64,
    dead_bytes_before: u64,
    dead_bytes_after: u64,
}

/// The log level in use.
#[derive(Debug, Serialize, Deserialize)]
struct LogLevel {
    level: String,
}

pub(crate) fn collect_garbage(context: &Context) -> Result<(), CliError> {
    let client = context.client(Patience::Endless)?;
    block_on(async {
        let report: GcReport = client
            .json(client.request(Method::POST, &["admin", "gc"], &[]))
            .await?;
        let freed = report
            .dead_bytes_before
            .saturating_sub(report.dead_bytes_after);
        let text = format!(
            "{} given back from {} shards; {} of deleted blobs left",
            size(freed),
            report.families,
            size(report.dead_bytes_after)
        );
        context.out.result(&report, text)
    })
}

pub(crate) fn log_level(context: &Context, args: &LogLevelArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    block_on(async {
        let request = client.request(Method::PUT, &["admin", "log-level"], &[]);
        let answer: LogLevel = client
            .json(request.json(&json!({ "level": args.level })))
            .await?;
        context.out.result(
            &answer,
            format_args!("log level {}", printable(&answer.level)),
        )
    })
}
