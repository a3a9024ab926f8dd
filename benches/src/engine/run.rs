//! The rounds: limit, engine; engine, limit; and so on through all cases.

use std::path::PathBuf;
use std::time::Duration;

use bytecave_config::{ByteSize, TimeSpan};
use bytecave_messages::store::Durability;
use clap::{Args, ValueEnum};
use thiserror::Error;

use super::cases::{self, Case, is_small, is_smallest, kept};
use super::subject::{Shelf, Subject, SubjectError};
use crate::machine::{Machine, MachineError, PlainFile, bare::BareRocks, drop_from_page_cache};
use crate::measure::{Enough, Measured};
use crate::process;
use crate::sample::Sample;
use crate::size::parse_size;

/// Time for which one core hashes and seals: the processor is steadier than the disk.
const CORE_TIME: Duration = Duration::from_millis(500);
/// Stored behind the blobs to be read, so that these leave the memory of the database: more than its
/// log may hold.
const FILLER_BYTES: u64 = 256 << 20;
const FILLER_BLOB_BYTES: u64 = 1 << 20;
/// Puts at once while blobs for reading are stored.
const PREPARING: usize = 16;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// Stores.
    Store,
    /// Reads, warm and cold.
    Retrieve,
}

/// The command line of `bytecave-bench-engine run`.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// Directory for the data, on a real disk; what is written stays there.
    #[arg(long)]
    pub dir: PathBuf,
    /// Rounds; medians are taken over them.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Length of a measurement of the smallest stores and of reads.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub duration: Duration,
    /// Bytes stored in a measurement of larger blobs.
    #[arg(long, default_value = "256MiB", value_parser = size)]
    pub volume: u64,
    /// Largest blob to measure.
    #[arg(long, default_value = "1GiB", value_parser = size)]
    pub largest: u64,
    /// What to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "store,retrieve"
    )]
    pub parts: Vec<Part>,
    /// Append a line of JSON for each measurement to this file.
    #[arg(long)]
    pub append: Option<PathBuf>,
    /// Print the rows as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The command line of `bytecave-bench-engine limit`.
#[derive(Args, Clone, Debug)]
pub struct LimitOptions {
    /// Which.
    #[arg(value_enum)]
    pub kind: Limit,
    /// Directory for the data, on a real disk; what is written stays there.
    #[arg(long)]
    pub dir: PathBuf,
    /// Size of the blobs beside which the limit is taken; only written into the result.
    #[arg(long, default_value = "64MiB", value_parser = size)]
    pub blob: u64,
    /// Clients beside which the limit is taken; only written into the result.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Bytes written for "disk" and "direct".
    #[arg(long, default_value = "256MiB", value_parser = size)]
    pub volume: u64,
    /// Time for "raw" and "core".
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub duration: Duration,
    /// Append the line of JSON to this file.
    #[arg(long)]
    pub append: Option<PathBuf>,
}

/// A limit that needs nothing prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Limit {
    /// Sequential write with one fsync.
    Disk,
    /// The same past the page cache.
    Direct,
    /// 4 KiB append and fdatasync.
    Raw,
    /// SHA-256 and AES-256-GCM on one core.
    Core,
}

/// Why a run came to no result.
#[derive(Debug, Error)]
pub enum EngineBenchError {
    /// A limit could not be taken.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The engine failed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The runtime did not start, or results could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Takes one limit.
pub fn limit(options: &LimitOptions) -> Result<Sample, EngineBenchError> {
    let machine = Machine::new(&options.dir)?;
    let case = Case {
        size: options.blob,
        clients: options.clients,
    };
    let sample = take_limit(
        &machine,
        options.kind,
        case,
        options.volume,
        options.duration,
    )?;
    if let Some(path) = &options.append {
        sample.append_to(path)?;
    }
    Ok(sample)
}

fn take_limit(
    machine: &Machine,
    kind: Limit,
    case: Case,
    volume: u64,
    time: Duration,
) -> Result<Sample, MachineError> {
    let (name, measured) = match kind {
        Limit::Disk => ("disk", machine.disk(volume)?),
        Limit::Direct => ("direct", machine.direct(volume)?),
        Limit::Raw => ("raw", machine.raw(time)?),
        Limit::Core => ("core", machine.hash_and_seal(time)?),
    };
    Ok(limit_sample(name, measured, case))
}

fn limit_sample(name: &str, measured: Measured, case: Case) -> Sample {
    measured.sample(
        name,
        "limit",
        ByteSize::new(case.size).to_string(),
        case.clients,
    )
}

/// Runs all rounds; each sample is handed to `report` as it comes.
pub fn run(
    options: &RunOptions,
    report: &mut dyn FnMut(&Sample),
) -> Result<Vec<Sample>, EngineBenchError> {
    let machine = Machine::new(&options.dir.join("limits"))?;
    let subject = Subject::open(&options.dir.join("engine"), Durability::Strict)?;
    let mut run = Run {
        options,
        machine,
        subject,
        report,
        samples: Vec::new(),
    };
    if options.parts.contains(&Part::Store) {
        run.stores()?;
    }
    if options.parts.contains(&Part::Retrieve) {
        run.reads()?;
    }
    Ok(run.samples)
}

struct Run<'a> {
    options: &'a RunOptions,
    machine: Machine,
    subject: Subject,
    report: &'a mut dyn FnMut(&Sample),
    samples: Vec<Sample>,
}

/// Blobs of one size in the engine, and as many bytes for the limit.
struct Pair {
    shelf: Shelf,
    beside: Beside,
}

enum Beside {
    Rocks(Box<BareRocks>),
    File(PlainFile),
}

impl Run<'_> {
    fn keep(&mut self, sample: Sample) -> Result<(), EngineBenchError> {
        if let Some(path) = &self.options.append {
            sample.append_to(path)?;
        }
        (self.report)(&sample);
        self.samples.push(sample);
        Ok(())
    }

    fn stores(&mut self) -> Result<(), EngineBenchError> {
        for round in 0..self.options.rounds {
            for case in cases::STORE {
                if case.size > self.options.largest {
                    continue;
                }
                if round % 2 == 0 {
                    self.store_limits(case)?;
                    self.store(case)?;
                } else {
                    self.store(case)?;
                    self.store_limits(case)?;
                }
            }
        }
        Ok(())
    }

    fn store_limits(&mut self, case: Case) -> Result<(), EngineBenchError> {
        let kinds: &[Limit] = match case.size {
            size if is_smallest(size) => &[Limit::Raw],
            size if size >= 1 << 30 => &[Limit::Disk, Limit::Direct, Limit::Core],
            size if size >= 64 << 20 => &[Limit::Disk, Limit::Direct],
            _ => &[Limit::Disk],
        };
        let volume = self.options.volume.max(case.size);
        for kind in kinds {
            settle();
            let time = if *kind == Limit::Core {
                CORE_TIME
            } else {
                self.options.duration
            };
            let sample = take_limit(&self.machine, *kind, case, volume, time)?;
            self.keep(sample)?;
        }
        Ok(())
    }

    fn store(&mut self, case: Case) -> Result<(), EngineBenchError> {
        settle();
        let extent = case.store_extent(self.options.duration, self.options.volume);
        let measured = self.subject.put_fresh(case.size, case.clients, extent)?;
        let size = ByteSize::new(case.size).to_string();
        self.keep(measured.sample("engine", "store", size, case.clients))
    }

    fn reads(&mut self) -> Result<(), EngineBenchError> {
        let mut sizes: Vec<u64> = cases::RETRIEVE.iter().map(|case| case.size).collect();
        sizes.dedup();
        let mut pairs = Vec::new();
        for size in sizes
            .into_iter()
            .filter(|size| *size <= self.options.largest)
        {
            pairs.push(self.pair(size)?);
        }
        let filler = Enough::Operations(FILLER_BYTES / FILLER_BLOB_BYTES);
        self.subject
            .put_fresh(FILLER_BLOB_BYTES, PREPARING, filler)?;
        settle();
        for round in 0..self.options.rounds {
            for case in cases::RETRIEVE {
                let Some(pair) = pairs.iter().find(|pair| pair.shelf.size == case.size) else {
                    continue;
                };
                if round % 2 == 0 {
                    self.read_limit(pair, case)?;
                    self.read(&pair.shelf, case)?;
                } else {
                    self.read(&pair.shelf, case)?;
                    self.read_limit(pair, case)?;
                }
                if let Beside::File(file) = &pair.beside
                    && case.clients == 1
                    && case.size >= 64 << 20
                {
                    self.read_cold(&pair.shelf, file, case)?;
                }
            }
        }
        Ok(())
    }

    fn pair(&self, size: u64) -> Result<Pair, EngineBenchError> {
        let count = kept(size);
        let shelf = self.subject.put_shelf(size, PREPARING, count)?;
        let beside = if is_small(size) {
            Beside::Rocks(Box::new(self.machine.bare_rocksdb(size, count)?))
        } else {
            Beside::File(self.machine.plain_file(size, count)?)
        };
        Ok(Pair { shelf, beside })
    }

    fn read_limit(&mut self, pair: &Pair, case: Case) -> Result<(), EngineBenchError> {
        let enough = Enough::After(self.options.duration);
        let once = Enough::Operations(kept(case.size) * 2);
        let (name, measured) = match &pair.beside {
            Beside::Rocks(rocks) => {
                rocks.get_at_random(case.clients, once)?;
                ("get", rocks.get_at_random(case.clients, enough)?)
            }
            Beside::File(file) => {
                file.read_in_order()?;
                ("warm", file.read_at_random(case.clients, enough)?)
            }
        };
        self.keep(limit_sample(name, measured, case))?;
        if !is_smallest(case.size) {
            let opened = self.machine.copy_and_open(case.clients, CORE_TIME)?;
            self.keep(limit_sample("open", opened, case))?;
        }
        Ok(())
    }

    fn read(&mut self, shelf: &Shelf, case: Case) -> Result<(), EngineBenchError> {
        // Once in order, so that a cold measurement before leaves nothing to fetch.
        self.subject.get_in_order(shelf)?;
        let enough = Enough::After(self.options.duration);
        let measured = self.subject.get_at_random(shelf, case.clients, enough)?;
        let size = ByteSize::new(case.size).to_string();
        self.keep(measured.sample("engine", "retrieve", size, case.clients))
    }

    fn read_cold(
        &mut self,
        shelf: &Shelf,
        file: &PlainFile,
        case: Case,
    ) -> Result<(), EngineBenchError> {
        let before = process::own_disk_reads();
        let limit = limit_sample("cold", file.read_cold()?, case);
        let between = process::own_disk_reads();
        self.keep(Sample {
            disk_read_bytes: difference(before, between),
            ..limit
        })?;

        drop_from_page_cache(&self.options.dir.join("engine"))?;
        let before = process::own_disk_reads();
        let measured = self.subject.get_in_order(shelf)?;
        let after = process::own_disk_reads();
        let size = ByteSize::new(case.size).to_string();
        let sample = measured.sample("engine", "retrieve-cold", size, case.clients);
        self.keep(Sample {
            disk_read_bytes: difference(before, after),
            ..sample
        })
    }
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

/// Lets the disk finish what the one before left to it, so that the next does not pay for it.
fn settle() {
    rustix::fs::sync();
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<TimeSpan>()
        .map(Duration::from)
        .map_err(|why| format!("{why}: expected a time such as 500ms or 2s"))
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|why| why.to_string())
}
