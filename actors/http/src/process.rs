//! What the system says of this process, for the `process_*` metrics.

/// One look at the process. What a system does not tell is left out.
#[derive(Debug, Default)]
pub(crate) struct ProcessStats {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) start_time_seconds: Option<f64>,
    pub(crate) threads: Option<u64>,
}

impl ProcessStats {
    /// Reads memory that looks like files, never a disk.
    #[cfg(target_os = "linux")]
    pub(crate) fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |name: &str| number_after(&status, name).map(|kib| kib * 1024);
        Self {
            cpu_seconds: Some(cpu_seconds()),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            open_fds: std::fs::read_dir("/proc/self/fd")
                .ok()
                // The directory being read is open itself.
                .map(|entries| (entries.count() as u64).saturating_sub(1)),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            start_time_seconds: start_time_seconds(),
            threads: number_after(&status, "Threads:"),
        }
    }

    /// Elsewhere only the clock is common ground.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read() -> Self {
        Self {
            cpu_seconds: Some(cpu_seconds()),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            ..Self::default()
        }
    }
}

fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(spent.tv_nsec).unwrap_or_default();
    let seconds = u64::try_from(spent.tv_sec).unwrap_or_default();
    std::time::Duration::new(seconds, nanoseconds).as_secs_f64()
}

#[cfg(target_os = "linux")]
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Seconds since 1970: the boot's, plus the process's age at boot in clock ticks.
#[cfg(target_os = "linux")]
fn start_time_seconds() -> Option<f64> {
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = number_after(&system, "btime ")?;
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold spaces; the 22nd field is the 20th behind it.
    let (_, fields) = own.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    let after_boot = std::time::Duration::from_millis(ticks * 1000 / per_second.max(1));
    Some((std::time::Duration::from_secs(boot) + after_boot).as_secs_f64())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_this_process_s() {
        let stats = ProcessStats::read();
        assert!(
            stats
                .resident_bytes
                .is_some_and(|bytes| bytes > 1024 * 1024)
        );
        assert!(stats.open_fds.is_some_and(|fds| fds >= 3));
        assert!(stats.max_fds >= stats.open_fds);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|now| now.as_secs_f64())
            .unwrap_or_default();
        let start = stats.start_time_seconds.unwrap_or_default();
        assert!(
            start <= now + 1.0 && now - start < 86_400.0,
            "{start} {now}"
        );
        assert!(stats.threads.is_some_and(|threads| threads >= 1));
    }
}
