//! One measurement, as a line of JSON: what the programs write and the table is made of.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What was measured in one run of one thing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Who: `bytecave`, `nginx`, `engine`, `disk`, `raw`, …
    pub subject: String,
    /// What: `store`, `retrieve`, `mixed`, `path`, `limit`.
    pub operation: String,
    /// Size of a blob as given, `4KiB` or `log:1KiB-8MiB`; empty where it has none.
    pub size: String,
    /// Requests at once.
    pub clients: usize,
    /// Operations that succeeded.
    pub operations: u64,
    /// Content bytes that these moved.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Operations each second.
    pub operations_per_second: f64,
    /// Content bytes each second.
    pub bytes_per_second: f64,
    /// How long the operations took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// What did not succeed: HTTP status or kind of failure, and how often.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// What the server used meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUsage>,
    /// CPU seconds that the client used meanwhile.
    pub client_cpu_seconds: f64,
    /// Of bytes read, those that came from the disk and not from memory; cold reads only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_read_bytes: Option<u64>,
}

/// Percentiles of how long operations took, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Half took at most this.
    pub p50_micros: f64,
    /// Nine of ten.
    pub p90_micros: f64,
    /// 99 of 100.
    pub p99_micros: f64,
    /// 999 of 1000.
    pub p999_micros: f64,
    /// The slowest.
    pub max_micros: f64,
}

/// What a server used during a measurement.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerUsage {
    /// CPU seconds, all threads and workers.
    pub cpu_seconds: f64,
    /// CPU microseconds for each operation.
    pub cpu_micros_per_operation: f64,
    /// CPU seconds for each 10^9 content bytes.
    pub cpu_seconds_per_gigabyte: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// The most that was resident since the server started, in bytes.
    pub peak_rss_bytes: u64,
}

impl Sample {
    /// Appends the sample to a file of such lines.
    pub fn append_to(&self, path: &Path) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(&line)
    }
}
