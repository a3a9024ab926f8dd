//! What is to be reached, and beside what. The one place where targets stand.

use super::Unit;

/// A figure of the engine beside a limit of the machine.
#[derive(Debug)]
pub(super) struct EngineGoal {
    pub(super) operation: &'static str,
    pub(super) size: &'static str,
    pub(super) clients: usize,
    /// The lower of these is the limit.
    pub(super) limits: &'static [&'static str],
    /// Least ratio; `None` where the figure is only reported.
    pub(super) target: Option<f64>,
}

/// A figure over HTTP, with the client on the same machine.
#[derive(Debug)]
pub(super) struct HttpGoal {
    pub(super) operation: &'static str,
    pub(super) size: &'static str,
    pub(super) clients: usize,
    /// Least share of nginx.
    pub(super) of_nginx: Option<f64>,
    /// The limit, and the least share of it, that count where nginx outruns the disk.
    pub(super) of_disk: Option<(&'static str, f64)>,
    /// Least share of the engine's own figure.
    pub(super) of_engine: Option<f64>,
}

const fn engine(
    operation: &'static str,
    size: &'static str,
    clients: usize,
    limits: &'static [&'static str],
    target: f64,
) -> EngineGoal {
    EngineGoal {
        operation,
        size,
        clients,
        limits,
        target: Some(target),
    }
}

/// The same without a target: reported because the one with a target needs it for understanding.
const fn reported(
    operation: &'static str,
    size: &'static str,
    clients: usize,
    limits: &'static [&'static str],
) -> EngineGoal {
    EngineGoal {
        operation,
        size,
        clients,
        limits,
        target: None,
    }
}

pub(super) const ENGINE: &[EngineGoal] = &[
    engine("store", "4KiB", 1, &["raw"], 0.9),
    engine("store", "4KiB", 16, &["raw"], 2.5),
    reported("store", "64KiB", 1, &["disk"]),
    engine("store", "64KiB", 16, &["disk"], 0.25),
    reported("store", "1MiB", 1, &["disk"]),
    engine("store", "1MiB", 16, &["disk"], 0.45),
    engine("store", "64MiB", 1, &["disk"], 0.75),
    reported("store", "64MiB", 1, &["direct"]),
    engine("store", "64MiB", 16, &["disk"], 0.75),
    reported("store", "64MiB", 16, &["direct"]),
    engine("store", "1GiB", 1, &["disk", "core"], 0.9),
    reported("store", "1GiB", 1, &["direct"]),
    engine("retrieve", "4KiB", 1, &["get"], 0.5),
    engine("retrieve", "4KiB", 16, &["get"], 0.5),
    engine("retrieve", "64KiB", 1, &["get"], 0.5),
    reported("retrieve", "64KiB", 1, &["open"]),
    engine("retrieve", "64KiB", 16, &["get"], 0.5),
    reported("retrieve", "64KiB", 16, &["open"]),
    engine("retrieve", "1MiB", 1, &["warm"], 0.4),
    reported("retrieve", "1MiB", 1, &["open"]),
    engine("retrieve", "1MiB", 16, &["warm"], 0.4),
    reported("retrieve", "1MiB", 16, &["open"]),
    engine("retrieve", "64MiB", 1, &["warm"], 0.5),
    reported("retrieve", "64MiB", 1, &["open"]),
    reported("retrieve", "64MiB", 16, &["warm"]),
    reported("retrieve", "64MiB", 16, &["open"]),
    engine("retrieve-cold", "64MiB", 1, &["cold"], 0.9),
    engine("retrieve", "1GiB", 1, &["warm"], 0.5),
    reported("retrieve", "1GiB", 1, &["open"]),
    engine("retrieve-cold", "1GiB", 1, &["cold"], 0.9),
];

pub(super) const HTTP: &[HttpGoal] = &[
    HttpGoal {
        operation: "store",
        size: "4KiB",
        clients: 16,
        of_nginx: Some(0.5),
        of_disk: Some(("raw", 2.5)),
        of_engine: None,
    },
    HttpGoal {
        operation: "store",
        size: "64KiB",
        clients: 16,
        of_nginx: None,
        of_disk: Some(("disk", 0.25)),
        of_engine: Some(0.7),
    },
    HttpGoal {
        operation: "store",
        size: "1MiB",
        clients: 16,
        of_nginx: Some(0.7),
        of_disk: Some(("disk", 0.45)),
        of_engine: Some(0.7),
    },
    HttpGoal {
        operation: "store",
        size: "64MiB",
        clients: 16,
        of_nginx: Some(0.9),
        of_disk: Some(("disk", 0.75)),
        of_engine: Some(0.7),
    },
    HttpGoal {
        operation: "retrieve",
        size: "4KiB",
        clients: 16,
        of_nginx: Some(0.4),
        of_disk: None,
        of_engine: None,
    },
    HttpGoal {
        operation: "retrieve",
        size: "64KiB",
        clients: 16,
        of_nginx: Some(0.4),
        of_disk: None,
        of_engine: Some(0.7),
    },
    HttpGoal {
        operation: "retrieve",
        size: "1MiB",
        clients: 16,
        of_nginx: Some(0.35),
        of_disk: None,
        of_engine: Some(0.7),
    },
    HttpGoal {
        operation: "retrieve",
        size: "64MiB",
        clients: 16,
        of_nginx: None,
        of_disk: None,
        of_engine: Some(0.7),
    },
];

/// Small blobs are counted, large ones weighed.
pub(super) fn unit_of(size: &str) -> Unit {
    if size == "4KiB" {
        Unit::OperationsPerSecond
    } else {
        Unit::BytesPerSecond
    }
}
