//! Metrics: counters of our own requests, and at each scrape the latest of everything else.
//!
//! Labels are route patterns, classes of status, actors and kinds of messages, all of them from
//! fixed lists: no label has a value that a stranger chooses. Counting a request is a few atomic
//! additions; nothing is locked.

mod snapshots;

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use bytecave_messages::budget::{Budget, KindStats, SECONDS_BUCKETS};
use bytecave_messages::lifecycle::PartState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::endpoint::Endpoint;
use crate::process::ProcessStats;
use crate::state::{Phase, Shared};

const ENDPOINTS: usize = Endpoint::ALL.len();
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

type Labels<'a> = &'a [(&'static str, &'a str)];

/// What happened to requests since the start.
pub(crate) struct Metrics {
    by_endpoint: [EndpointMetrics; ENDPOINTS],
    uploads_refused: AtomicU64,
}

#[derive(Default)]
struct EndpointMetrics {
    by_class: [AtomicU64; CLASSES.len()],
    nanoseconds: AtomicU64,
    /// Not cumulative, the last being above all bounds.
    buckets: [AtomicU64; SECONDS_BUCKETS.len() + 1],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            by_endpoint: std::array::from_fn(|_| EndpointMetrics::default()),
            uploads_refused: AtomicU64::new(0),
        }
    }

    /// A request was answered, or its answer begun.
    pub(crate) fn request(&self, endpoint: Endpoint, status: StatusCode, elapsed: Duration) {
        let Some(metrics) = self.by_endpoint.get(endpoint as usize) else {
            return;
        };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = metrics.by_class.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        metrics
            .nanoseconds
            .fetch_add(nanoseconds, Ordering::Relaxed);
        let seconds = elapsed.as_secs_f64();
        let bucket = SECONDS_BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(count) = metrics.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An upload found no memory left.
    pub(crate) fn upload_refused(&self) {
        self.uploads_refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// All metrics in the text form of `OpenMetrics`.
pub(crate) fn render(shared: &Arc<Shared>) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(shared))));
    let mut text = String::with_capacity(16 * 1024);
    text::encode_registry(&mut text, &registry)?;
    for registry in &shared.registries {
        text::encode_registry(&mut text, registry)?;
    }
    text::encode_eof(&mut text)?;
    Ok(text)
}

/// One look at everything.
struct Scrape(Arc<Shared>);

impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Out(encoder);
        let shared = &*self.0;
        requests(&mut out, shared)?;
        mailboxes(&mut out, shared)?;
        parts(&mut out, shared)?;
        if let Some(view) = shared.view() {
            snapshots::store(&mut out, &view.snapshot)?;
        }
        if let Some(copies) = shared.copies() {
            snapshots::replicator(&mut out, &copies)?;
        }
        if let Some(proofs) = shared.proofs() {
            snapshots::proof(&mut out, &proofs)?;
        }
        process(&mut out, &ProcessStats::read())
    }
}

fn requests(out: &mut Out<'_>, shared: &Shared) -> Result<(), Error> {
    let metrics = &shared.metrics;
    let endpoints = || Endpoint::ALL.iter().zip(&metrics.by_endpoint);
    out.family(
        "bytecave_http_requests",
        "Requests answered, by route and class of status.",
        MetricType::Counter,
        |family| {
            for (endpoint, counts) in endpoints() {
                for (class, count) in CLASSES.iter().zip(&counts.by_class) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = [("route", endpoint.pattern()), ("status", *class)];
                        family.counter(&labels, count)?;
                    }
                }
            }
            Ok(())
        },
    )?;
    out.family(
        "bytecave_http_request_seconds",
        "Time until a request's answer was begun, by route.",
        MetricType::Histogram,
        |family| {
            for (endpoint, counts) in endpoints() {
                let buckets: Vec<u64> = counts
                    .buckets
                    .iter()
                    .map(|count| count.load(Ordering::Relaxed))
                    .collect();
                if buckets.iter().any(|count| *count > 0) {
                    let sum = Duration::from_nanos(counts.nanoseconds.load(Ordering::Relaxed));
                    let labels = [("route", endpoint.pattern())];
                    family.histogram(&labels, sum.as_secs_f64(), &buckets)?;
                }
            }
            Ok(())
        },
    )?;
    out.counter(
        "bytecave_http_uploads_refused",
        "Uploads turned away because the memory for uploads was in use.",
        metrics.uploads_refused.load(Ordering::Relaxed),
    )?;
    out.gauge(
        "bytecave_http_upload_bytes_in_flight",
        "Memory taken by uploads in flight, in bytes.",
        shared.uploads.used_bytes(),
    )?;
    out.gauge(
        "bytecave_http_upload_bytes_allowed",
        "Memory that uploads in flight may take, in bytes.",
        shared.uploads.total_bytes(),
    )
}

fn mailboxes(out: &mut Out<'_>, shared: &Shared) -> Result<(), Error> {
    let snapshots: Vec<_> = shared.budgets.iter().map(Budget::snapshot).collect();
    out.family(
        "bytecave_mailbox_capacity",
        "Messages that an actor may have in hand, waiting and in work.",
        MetricType::Gauge,
        |family| {
            for snapshot in &snapshots {
                family.gauge(
                    &[("actor", snapshot.actor.as_str())],
                    snapshot.capacity as u64,
                )?;
            }
            Ok(())
        },
    )?;
    let mut by_kind =
        |name: &'static str,
         help: &str,
         kind: MetricType,
         write: &dyn Fn(&mut Family<'_>, Labels<'_>, &KindStats) -> Result<(), Error>| {
            out.family(name, help, kind, |family| {
                for snapshot in &snapshots {
                    for (kind, stats) in &snapshot.kinds {
                        let labels = [("actor", snapshot.actor.as_str()), ("kind", *kind)];
                        write(family, &labels, stats)?;
                    }
                }
                Ok(())
            })
        };
    by_kind(
        "bytecave_mailbox_depth",
        "Messages in hand now, by actor and kind.",
        MetricType::Gauge,
        &|family, labels, stats| family.gauge(labels, stats.depth),
    )?;
    by_kind(
        "bytecave_mailbox_handled",
        "Messages finished, with whatever result, by actor and kind.",
        MetricType::Counter,
        &|family, labels, stats| family.counter(labels, stats.handled),
    )?;
    by_kind(
        "bytecave_mailbox_shed",
        "Messages refused because the mailbox was full, by actor and kind.",
        MetricType::Counter,
        &|family, labels, stats| family.counter(labels, stats.shed),
    )?;
    by_kind(
        "bytecave_mailbox_seconds",
        "Time from a message's permit to its end, by actor and kind.",
        MetricType::Histogram,
        &|family, labels, stats| family.histogram(labels, stats.seconds, &stats.buckets),
    )
}

fn parts(out: &mut Out<'_>, shared: &Shared) -> Result<(), Error> {
    out.gauge(
        "bytecave_ready",
        "Whether the routes are open.",
        u64::from(shared.phase() == Phase::Open),
    )?;
    let parts = shared.parts();
    out.family(
        "bytecave_part_ready",
        "Whether a part is at work or switched off, by actor.",
        MetricType::Gauge,
        |family| {
            for (actor, state) in &parts {
                let ready = matches!(state, PartState::Ready | PartState::Disabled { .. });
                family.gauge(&[("actor", actor.as_str())], u64::from(ready))?;
            }
            Ok(())
        },
    )
}

fn process(out: &mut Out<'_>, stats: &ProcessStats) -> Result<(), Error> {
    if let Some(seconds) = stats.cpu_seconds {
        out.counter(
            "process_cpu_seconds",
            "Processor time spent, user and system.",
            seconds,
        )?;
    }
    if let Some(seconds) = stats.start_time_seconds {
        out.gauge(
            "process_start_time_seconds",
            "When the process began, seconds since 1970.",
            seconds,
        )?;
    }
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Resident memory.",
            stats.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory.",
            stats.virtual_bytes,
        ),
        ("process_open_fds", "Open file descriptors.", stats.open_fds),
        (
            "process_max_fds",
            "File descriptors allowed.",
            stats.max_fds,
        ),
        ("process_threads", "Threads.", stats.threads),
    ] {
        if let Some(value) = value {
            out.gauge(name, help, value)?;
        }
    }
    Ok(())
}

/// Where metrics are written.
struct Out<'a>(DescriptorEncoder<'a>);

/// A metric with labels.
struct Family<'a>(MetricEncoder<'a>);

impl Out<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut Family<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, kind)?;
        write(&mut Family(encoder))
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result<(), Error> {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        encoder.encode_gauge(&value)
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> Result<(), Error> {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounterOf(value).encode(encoder)
    }
}

/// A counter of any number type.
struct ConstCounterOf<N>(N);

impl<N: EncodeCounterValue> ConstCounterOf<N> {
    fn encode(self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_counter::<NoLabels, _, u64>(&self.0, None)
    }
}

type NoLabels = [(&'static str, &'static str); 0];

impl Family<'_> {
    fn gauge(&mut self, labels: Labels<'_>, value: u64) -> Result<(), Error> {
        let encoder = self.0.encode_family(&labels)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counter(&mut self, labels: Labels<'_>, value: u64) -> Result<(), Error> {
        let encoder = self.0.encode_family(&labels)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn histogram(&mut self, labels: Labels<'_>, sum: f64, counts: &[u64]) -> Result<(), Error> {
        let bounds = SECONDS_BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let total = counts.iter().sum();
        let mut encoder = self.0.encode_family(&labels)?;
        encoder.encode_histogram::<NoLabels>(sum, total, &buckets, None)
    }
}
