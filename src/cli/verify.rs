//! `verify`: every stored byte is read, opened and hashed again, with the node stopped.

use std::fmt::Write as _;

use bytecave_store::offline::{Findings, Mode, VerifyReport, verify};
use clap::Args;

use super::context::Context;
use super::error::CliError;
use super::exit::Exit;
use super::offline::{Offline, Watcher};
use super::output::{Fields, printable, size};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Opens every record, computes CID and tree of every blob anew and counts everything; changes nothing
without an option. Exits with 0 when all is well, or was put right without loss, and with 6 when
something stored is damaged or gone. Needs the node stopped.")]
pub(crate) struct VerifyArgs {
    /// Flag damaged blobs so that they are not served, correct counters, remove what belongs to nothing
    #[arg(long)]
    repair: bool,
    /// For a database that does not open: copy every whole blob into a new database. The damaged
    /// one is kept beside it; needs room for both
    #[arg(long, conflicts_with = "repair")]
    salvage: bool,
}

impl VerifyArgs {
    fn mode(&self) -> Mode {
        match (self.repair, self.salvage) {
            (true, _) => Mode::Repair,
            (_, true) => Mode::Salvage,
            _ => Mode::Check,
        }
    }
}

pub(crate) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let config = context.load()?.config;
    let offline = Offline::lock(&config)?;
    let watcher = Watcher::new(context);
    let report = verify(&offline.options, args.mode(), &mut |progress| {
        watcher.hear(progress);
    });
    drop(watcher);
    let report = report?;
    context.out.result(&report, text(&report))?;
    Ok(verdict(&report))
}

/// Damage that was put right without loss is no damage any more.
fn verdict(report: &VerifyReport) -> Exit {
    let whole = match (&report.salvaged, &report.repaired) {
        (Some(salvaged), _) => salvaged.lost_blobs == 0 && report.damaged.is_empty(),
        (None, Some(_)) => report.damaged.is_empty() && report.unreadable.is_empty(),
        (None, None) => report.is_clean(),
    };
    if whole { Exit::Done } else { Exit::Integrity }
}

fn text(report: &VerifyReport) -> String {
    let orphans = report.orphans;
    let some = |number: u64| (number > 0).then_some(number);
    let mut text = Fields::default()
        .with("shards", report.families)
        .with(
            "whole blobs",
            format_args!("{}, {}", report.blobs, size(report.bytes)),
        )
        .with_some("damaged blobs", some(report.damaged.total))
        .with_some("unreadable parts", some(report.unreadable.total))
        .with_some("damaged records", some(report.bad_records.total))
        .with_some("wrong counters", some(report.wrong_counters.total))
        .with_some("orphaned rows", some(orphans.small + orphans.chunks))
        .with_some(
            "orphaned bytes",
            some(orphans.small_bytes + orphans.chunk_bytes).map(size),
        )
        .with_some("unfinished uploads", some(report.unfinished.intents))
        .with_some("unfinished deletions", some(report.unfinished.drops))
        .to_string();
    list(&mut text, "damaged blobs", &report.damaged, |blob| {
        let cid = blob
            .cid
            .map_or_else(|| "(name unknown)".to_owned(), |cid| cid.to_string());
        let name = blob
            .file_name
            .as_deref()
            .map(|name| format!("  \"{}\"", printable(name)));
        format!(
            "{cid}  shard {}{}: {}",
            blob.shard.get(),
            name.unwrap_or_default(),
            blob.reason
        )
    });
    list(&mut text, "unreadable parts", &report.unreadable, |part| {
        format!("{}, {}: {}", part.family, part.what, part.cause)
    });
    list(&mut text, "damaged records", &report.bad_records, |part| {
        format!("{}, {}: {}", part.family, part.what, part.cause)
    });
    list(
        &mut text,
        "wrong counters",
        &report.wrong_counters,
        |wrong| {
            let counted = format!(
                "{} blobs, {} bytes",
                wrong.counted.blobs, wrong.counted.bytes
            );
            match &wrong.stored {
                Some(stored) => format!(
                    "shard {}: stored {} blobs, {} bytes; counted {counted}",
                    wrong.shard.get(),
                    stored.blobs,
                    stored.bytes
                ),
                None => format!("shard {}: unreadable; counted {counted}", wrong.shard.get()),
            }
        },
    );
    for line in outcome(report) {
        text.extend(["\n\n", &line]);
    }
    text
}

fn list<T>(text: &mut String, title: &str, findings: &Findings<T>, line: impl Fn(&T) -> String) {
    if findings.is_empty() {
        return;
    }
    text.extend(["\n\n", title, ":"]);
    for finding in &findings.listed {
        text.extend(["\n  ", &printable(&line(finding))]);
    }
    let more = findings.total - findings.listed.len() as u64;
    if more > 0 {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  and {more} more");
    }
}

/// What was done, and what is to be done.
fn outcome(report: &VerifyReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(done) = report.repaired {
        lines.push(format!(
            "repaired: {} counters corrected, {} damaged blobs flagged, {} whole ones released, {} rows and {} files removed, {} ends of retired blobs noted again",
            done.counters, done.quarantined, done.released, done.rows_removed, done.files_removed, done.ends_noted
        ));
    }
    if let Some(done) = &report.salvaged {
        lines.push(format!(
            "salvaged: {} blobs, {}; {} are lost. The damaged database is kept in {}: remove it when nothing more is wanted from it.",
            done.blobs, size(done.bytes), done.lost_blobs, done.damaged_dir.display()
        ));
    }
    if report.is_clean() {
        lines.push("all is well".to_owned());
    } else if report.needs_salvage() {
        lines.push(
            "`bytecave verify --salvage` copies what is whole into a new database".to_owned(),
        );
    } else if report.salvaged.is_none() && report.repaired.is_none() {
        lines.push(
            "`bytecave verify --repair` flags damaged blobs, corrects counters and removes what belongs to nothing"
                .to_owned(),
        );
    }
    if !report.damaged.is_empty() {
        lines.push("storing the same bytes again heals a damaged blob".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::{BlobCid, ShardCount};
    use bytecave_store::offline::{
        Count, DamagedBlob, Repaired, Salvaged, Unreadable, WrongCounters,
    };

    use super::*;

    fn damaged() -> Findings<DamagedBlob> {
        let blob = DamagedBlob {
            cid: Some(BlobCid::of(b"x")),
            shard: ShardCount::new(16).unwrap().shard(3).unwrap(),
            size: Some(1),
            file_name: Some("a\u{1b}b".to_owned()),
            reason: "a chunk does not open".to_owned(),
        };
        Findings {
            total: 2,
            listed: vec![blob],
        }
    }

    fn unreadable() -> Findings<Unreadable> {
        let part = Unreadable {
            family: "shard-0001".to_owned(),
            what: "metadata",
            cause: "bad block".to_owned(),
        };
        Findings {
            total: 1,
            listed: vec![part],
        }
    }

    fn wrong_counters() -> Findings<WrongCounters> {
        let shard = ShardCount::new(16).unwrap().shard(3).unwrap();
        let wrong = WrongCounters {
            shard,
            stored: None,
            counted: Count::default(),
        };
        Findings {
            total: 1,
            listed: vec![wrong],
        }
    }

    #[test]
    fn a_clean_report_says_so() {
        let report = VerifyReport {
            families: 16,
            blobs: 2,
            bytes: 10,
            ..VerifyReport::default()
        };
        assert_eq!(verdict(&report), Exit::Done);
        let text = text(&report);
        assert!(text.ends_with("all is well"), "{text}");
        assert!(!text.contains("damaged"), "{text}");
    }

    #[test]
    fn damage_is_named_with_its_remedy() {
        let report = VerifyReport {
            damaged: damaged(),
            ..VerifyReport::default()
        };
        assert_eq!(verdict(&report), Exit::Integrity);
        let text = text(&report);
        for part in [
            BlobCid::of(b"x").to_string().as_str(),
            "shard 3",
            "and 1 more",
            "--repair",
            "heals",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn what_cannot_be_read_needs_a_salvage() {
        let report = VerifyReport {
            unreadable: unreadable(),
            ..VerifyReport::default()
        };
        assert!(text(&report).contains("--salvage"));
    }

    #[test]
    fn only_loss_is_left_over_by_a_repair_or_a_salvage() {
        let repaired = Some(Repaired::default());
        let fine = VerifyReport {
            wrong_counters: wrong_counters(),
            repaired,
            ..VerifyReport::default()
        };
        assert_eq!(verdict(&fine), Exit::Done);
        assert_eq!(
            verdict(&VerifyReport {
                damaged: damaged(),
                ..fine
            }),
            Exit::Integrity
        );
        let salvaged = |lost_blobs| VerifyReport {
            unreadable: unreadable(),
            salvaged: Some(Salvaged {
                blobs: 1,
                bytes: 1,
                lost_blobs,
                damaged_dir: "/x".into(),
            }),
            ..VerifyReport::default()
        };
        assert_eq!(verdict(&salvaged(0)), Exit::Done);
        assert_eq!(verdict(&salvaged(1)), Exit::Integrity);
        assert!(!text(&salvaged(1)).contains("--salvage"));
    }
}
