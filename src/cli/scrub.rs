//! `scrub`: lets the running node read everything that it keeps again, and waits for the end.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::{Client, Patience};
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, short_size, utc};

/// Between two looks at how far it is: the node tells it once a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Arguments of `scrub`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave scrub
  bytecave --json scrub --wait | jq .damaged

The node reads its blobs again by itself, over the time of proof.scrub_period; this does it now, from the
first blob. What is damaged is quarantined, counted, and brought back from other nodes. With the node
stopped, bytecave verify does the same, and more.")]
pub(crate) struct ScrubArgs {
    /// Wait until everything was read
    #[arg(long)]
    wait: bool,
}

/// How far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scrub {
    running: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_at: Option<u64>,
    blobs: u64,
    bytes: u64,
    damaged: u64,
    #[serde(default)]
    total_bytes: u64,
}

/// What is looked at while waiting.
#[derive(Debug, Deserialize)]
struct Health {
    #[serde(default)]
    scrub: Option<Scrub>,
}

impl Scrub {
    /// Whether this tells of the end of a pass that began at `since` or later. What the node told last
    /// may be a second old, and of the time before.
    fn is_over(&self, since: Option<u64>) -> bool {
        let ended = self.finished_at.is_some() && self.finished_at >= self.started_at;
        !self.running && ended && self.started_at >= since
    }

    /// In words, a line each.
    pub(super) fn fields(&self) -> Fields {
        let state = match (self.running, self.started_at) {
            (true, _) => "running",
            (false, Some(_)) => "not running",
            (false, None) => "never ran",
        };
        let read = format!(
            "{} blobs, {} of {}",
            self.blobs,
            short_size(self.bytes),
            short_size(self.total_bytes)
        );
        let damaged = match self.damaged {
            0 => "none".to_owned(),
            1 => "1 blob".to_owned(),
            many => format!("{many} blobs"),
        };
        Fields::default()
            .with("scrub", state)
            .with_some("began", self.started_at.map(utc))
            .with_some("ended", self.finished_at.map(utc))
            .with("read", read)
            .with("damaged", damaged)
            .with_some("next", self.next_at.map(utc))
    }
}

pub(crate) fn run(context: &Context, args: &ScrubArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let scrub = block_on(async {
        let request = client.request(Method::POST, &["admin", "scrub"], &[]);
        let started: Scrub = client.json(request).await?;
        if args.wait {
            wait(context, &client, started).await
        } else {
            Ok(started)
        }
    })?;
    context.out.result(&scrub, scrub.fields())
}

async fn wait(context: &Context, client: &Client, started: Scrub) -> Result<Scrub, CliError> {
    let since = started.started_at;
    let bar = Bar::new(context);
    let mut latest = started;
    while !latest.is_over(since) {
        bar.show(&latest);
        tokio::time::sleep(LOOK_EVERY).await;
        let request = client.request(Method::GET, &["health"], &[]);
        let health: Health = client.json(request).await?;
        latest = health.scrub.unwrap_or(latest);
    }
    Ok(latest)
}

/// Shows how far it is, where a person watches.
struct Bar(ProgressBar);

impl Bar {
    fn new(context: &Context) -> Self {
        let bar = context.out.steps();
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {msg}  {eta}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, scrub: &Scrub) {
        self.0.set_length(scrub.total_bytes);
        self.0.set_position(scrub.bytes);
        let (blobs, damaged) = (scrub.blobs, scrub.damaged);
        self.0
            .set_message(format!("{blobs} blobs, {damaged} damaged"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(running: bool, started_at: Option<u64>, finished_at: Option<u64>) -> Scrub {
        Scrub {
            running,
            started_at,
            finished_at,
            next_at: None,
            blobs: 3,
            bytes: 2048,
            damaged: 1,
            total_bytes: 4096,
        }
    }

    #[test]
    fn an_end_is_that_of_the_pass_that_was_asked_for() {
        for (view, since, over) in [
            (scrub(true, Some(5), None), Some(5), false),
            (scrub(true, Some(5), Some(4)), Some(5), false),
            // What the node said before it began.
            (scrub(false, Some(2), Some(4)), Some(5), false),
            (scrub(false, None, None), Some(5), false),
            (scrub(false, Some(5), Some(5)), Some(5), true),
            // A later pass, when the one that was waited for could not be seen to end.
            (scrub(false, Some(7), Some(9)), Some(5), true),
            // It was given up, and goes on after the next start.
            (scrub(false, Some(5), Some(4)), Some(5), false),
            (scrub(false, None, None), None, false),
        ] {
            assert_eq!(view.is_over(since), over, "{view:?} {since:?}");
        }
    }

    #[test]
    fn what_was_found_is_told() {
        let text = scrub(false, Some(0), Some(1000)).fields().to_string();
        for line in [
            "scrub    not running",
            "began    1970-01-01T00:00:00Z",
            "ended    1970-01-01T00:00:01Z",
            "read     3 blobs, 2.00 KiB of 4.00 KiB",
            "damaged  1 blob",
        ] {
            assert!(text.lines().any(|of| of == line), "no {line:?} in {text}");
        }
    }
}
