//! What a running process and its workers have used: CPU seconds and memory, from `/proc`.
//!
//! A server that does its work in child processes (nginx) counts as one: itself, its descendants, and
//! the children that it has already waited for.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::random::f64_of;

/// Usage of a process and its descendants at one moment.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// CPU seconds since it started, user and system; the kernel counts in hundredths.
    pub cpu_seconds: f64,
    /// Memory that is resident now, in bytes.
    pub rss_bytes: u64,
    /// The most that was ever resident, in bytes: `VmHWM`, summed over processes.
    pub peak_rss_bytes: u64,
}

/// Reads what `pid` and its descendants have used.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let mut total = one(pid)?;
    for descendant in descendants(pid) {
        // A worker that has just ended is counted by its parent.
        if let Ok(usage) = one(descendant) {
            total.cpu_seconds += usage.cpu_seconds;
            total.rss_bytes += usage.rss_bytes;
            total.peak_rss_bytes += usage.peak_rss_bytes;
        }
    }
    Ok(total)
}

/// CPU seconds that this process has used.
pub fn own_cpu_seconds() -> f64 {
    one(std::process::id()).map_or(0.0, |usage| usage.cpu_seconds)
}

/// Bytes that this process has really read from disk; reads that the page cache answered do not count.
pub fn own_disk_reads() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("read_bytes:"))
        .and_then(|number| number.trim().parse().ok())
}

fn one(pid: u32) -> io::Result<Usage> {
    let directory = Path::new("/proc").join(pid.to_string());
    let stat = fs::read_to_string(directory.join("stat"))?;
    let ticks = cpu_ticks(&stat).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat has too few fields"),
        )
    })?;
    let status = fs::read_to_string(directory.join("status"))?;
    Ok(Usage {
        cpu_seconds: f64_of(ticks) / f64_of(rustix::param::clock_ticks_per_second()),
        rss_bytes: status_bytes(&status, "VmRSS:"),
        peak_rss_bytes: status_bytes(&status, "VmHWM:"),
    })
}

/// utime, stime, cutime and cstime: fields 14 to 17 of proc(5). The name in field 2 may hold spaces
/// and parentheses, so counting begins behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let times: Vec<u64> = behind_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .map_while(|field| field.parse().ok())
        .collect();
    (times.len() == 4).then(|| times.iter().sum())
}

fn status_bytes(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut to_visit = vec![pid];
    while let Some(parent) = to_visit.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children
                .split_whitespace()
                .filter_map(|child| child.parse().ok());
            to_visit.extend(children.filter(|child| found.insert(*child)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some(100));
        assert_eq!(cpu_ticks("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_given_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), 1 << 20);
        assert_eq!(status_bytes(status, "VmHWM:"), 2 << 20);
        assert_eq!(status_bytes(status, "VmSwap:"), 0);
    }

    #[test]
    fn a_child_counts_with_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let family = descendants(std::process::id());
        let own = one(std::process::id()).unwrap();
        let together = usage(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()), "{family:?}");
        assert!(together.peak_rss_bytes > own.peak_rss_bytes);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(usage(u32::MAX).is_err());
    }
}
