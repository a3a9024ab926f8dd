//! What the machine gives the node: file descriptors, time, a directory and room in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytecave_config::Config;
use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::cli::output::short_size;

/// Below this many open files a node refuses to start.
const FILES_NEEDED: u64 = 1024;
/// From this many on the database can keep all the files open that it wants.
const FILES_WANTED: u64 = 4096;
/// 2026-01-01: this program is younger, so an earlier clock is wrong.
const EARLIEST: Duration = Duration::from_hours(490_896);
/// Files from this far in the future mean that the clock was set back.
const CLOCK_SLACK: Duration = Duration::from_mins(5);
/// Fewer free inodes than this end in a full disk before its bytes do.
const INODES_WANTED: u64 = 1000;
/// Reserve of free disk when `store.disk_reserve` is unset: the larger of these.
const RESERVE_BYTES: u64 = 1 << 30;
const RESERVE_PERCENT: u64 = 5;

pub(super) fn file_descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    // A node raises the soft limit to the hard one; unlimited is `None`.
    judge_files(limit.maximum)
}

fn judge_files(limit: Option<u64>) -> Finding {
    let check = "open files";
    let remedy = "raise the limit: LimitNOFILE=65536 for systemd, --ulimit nofile=65536:65536 for a container, ulimit -Hn in a shell";
    match limit {
        Some(limit) if limit < FILES_NEEDED => Finding::problem(
            check,
            format_args!("at most {limit}; a node needs {FILES_NEEDED}"),
            remedy,
        ),
        Some(limit) if limit < FILES_WANTED => Finding::warning(
            check,
            format_args!("at most {limit}; {FILES_WANTED} serve the database better"),
            remedy,
        ),
        Some(limit) => Finding::ok(check, format_args!("at most {limit}")),
        None => Finding::ok(check, "unlimited"),
    }
}

pub(super) fn clock(config: Option<&Config>) -> Finding {
    let newest = config.and_then(|config| newest_file(&config.node.data_dir.join("db")));
    judge_clock(SystemTime::now(), newest)
}

fn judge_clock(now: SystemTime, newest_file: Option<SystemTime>) -> Finding {
    let remedy = "set the clock, and keep it right with an NTP client (timedatectl set-ntp true)";
    if now.duration_since(UNIX_EPOCH).unwrap_or_default() < EARLIEST {
        return Finding::problem("clock", "it stands before this program was written", remedy);
    }
    let ahead = newest_file
        .and_then(|newest| newest.duration_since(now).ok())
        .unwrap_or_default();
    if ahead > CLOCK_SLACK {
        let minutes = ahead.as_secs() / 60;
        return Finding::warning(
            "clock",
            format_args!(
                "files of the database are {minutes} minutes in the future: the clock was set back"
            ),
            remedy,
        );
    }
    Finding::ok("clock", "plausible; newer than all files of the database")
}

fn newest_file(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?;
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok())
        .max()
}

pub(super) fn data_directory(config: &Config) -> Vec<Finding> {
    let check = "directory";
    let path = &config.node.data_dir;
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => vec![Finding::problem(
            check,
            format_args!("{shown} is not a directory"),
            "choose another DATA_DIR",
        )],
        Ok(meta) => {
            if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
                return vec![Finding::problem(
                    check,
                    format_args!("{shown} cannot be read and written by this user: {error}"),
                    "run as the user the node runs as, or give it the directory (chown)",
                )];
            }
            if meta.permissions().mode() & 0o077 != 0 {
                return vec![Finding::warning(
                    check,
                    format_args!("{shown} can be entered by others"),
                    format_args!("chmod 700 {shown}"),
                )];
            }
            vec![Finding::ok(
                check,
                format_args!("{shown} can be read and written"),
            )]
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = nearest_existing(path);
            match access(parent, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => vec![Finding::ok(
                    check,
                    format_args!("{shown} does not exist yet; the first start makes it"),
                )],
                Err(error) => vec![Finding::problem(
                    check,
                    format_args!(
                        "{shown} does not exist and cannot be made in {}: {error}",
                        parent.display()
                    ),
                    "make it for the user the node runs as, or choose another DATA_DIR",
                )],
            }
        }
        Err(error) => vec![Finding::problem(
            check,
            format_args!("{shown}: {error}"),
            "run as the user the node runs as, or choose another DATA_DIR",
        )],
    }
}

/// The directory, or the first above it that exists.
fn nearest_existing(path: &Path) -> &Path {
    let above = path.ancestors().find(|above| above.exists());
    // A relative path ends in the empty one, which means here.
    above
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) fn disk(config: &Config) -> Vec<Finding> {
    let path = nearest_existing(&config.node.data_dir);
    let stat = match statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            return vec![Finding::warning(
                "disk",
                format_args!("free space of {} is unknown: {error}", path.display()),
                "look with df",
            )];
        }
    };
    let room = Room {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        reserve: config.store.disk_reserve.map_or_else(
            || {
                RESERVE_BYTES
                    .max(stat.f_blocks.saturating_mul(stat.f_frsize) / 100 * RESERVE_PERCENT)
            },
            bytecave_config::ByteSize::bytes,
        ),
        stored: stored_bytes(&config.node.data_dir.join("db")),
        quota: config.store.quota().bytes(),
    };
    let mut findings = vec![room.judge()];
    // File systems that make inodes as needed report none at all.
    if stat.f_files > 0 && stat.f_favail < INODES_WANTED {
        findings.push(Finding::problem(
            "disk",
            format_args!("only {} more files fit", stat.f_favail),
            "remove small files elsewhere on this disk",
        ));
    }
    findings
}

fn stored_bytes(database: &Path) -> u64 {
    let entries = fs::read_dir(database).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum()
}

/// Bytes of the disk that matter.
struct Room {
    free: u64,
    reserve: u64,
    stored: u64,
    quota: u64,
}

impl Room {
    fn judge(&self) -> Finding {
        let free = short_size(self.free);
        let reserve = short_size(self.reserve);
        let usable = self.free.saturating_sub(self.reserve);
        if usable == 0 {
            return Finding::problem(
                "disk",
                format_args!("{free} free, {reserve} of it in reserve: nothing can be stored"),
                "make room, or move DATA_DIR to a larger disk (store.disk_reserve sets the reserve)",
            );
        }
        if self.stored.saturating_add(usable) < self.quota {
            return Finding::warning(
                "disk",
                format_args!(
                    "{free} free, {reserve} of it in reserve: less than the storage limit of {}",
                    short_size(self.quota)
                ),
                "make room, or lower MAX_STORAGE_MB to what the disk holds",
            );
        }
        Finding::ok(
            "disk",
            format_args!("{free} free, {reserve} of it in reserve"),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::State;
    use super::*;

    #[test]
    fn file_limits_are_judged_as_the_node_does() {
        assert_eq!(judge_files(Some(1023)).state, State::Problem);
        assert_eq!(judge_files(Some(4095)).state, State::Warning);
        assert_eq!(judge_files(Some(65536)).state, State::Ok);
        assert_eq!(judge_files(None).state, State::Ok);
    }

    #[test]
    fn a_clock_is_compared_with_what_was_written() {
        let now = UNIX_EPOCH + EARLIEST + Duration::from_hours(24);
        assert_eq!(judge_clock(now, None).state, State::Ok);
        assert_eq!(
            judge_clock(now, Some(now - Duration::from_secs(5))).state,
            State::Ok
        );
        assert_eq!(
            judge_clock(now, Some(now + Duration::from_secs(5))).state,
            State::Ok
        );
        assert_eq!(
            judge_clock(now, Some(now + Duration::from_hours(2))).state,
            State::Warning
        );
        assert_eq!(judge_clock(UNIX_EPOCH, None).state, State::Problem);
    }

    #[test]
    fn room_is_what_the_reserve_leaves() {
        let room = |free, stored| Room {
            free,
            reserve: 10,
            stored,
            quota: 100,
        };
        assert_eq!(room(10, 0).judge().state, State::Problem);
        assert_eq!(room(50, 0).judge().state, State::Warning);
        assert_eq!(room(110, 0).judge().state, State::Ok);
        assert_eq!(room(50, 60).judge().state, State::Ok);
    }

    #[test]
    fn a_directory_to_be_made_needs_a_writable_place() {
        let temp = tempfile::tempdir().unwrap();
        let mut config = Config::built_in().unwrap();
        config.node.data_dir = temp.path().join("a/b");
        assert_eq!(data_directory(&config)[0].state, State::Ok);
        assert!(!config.node.data_dir.exists());
        fs::write(temp.path().join("file"), "").unwrap();
        config.node.data_dir = temp.path().join("file");
        assert_eq!(data_directory(&config)[0].state, State::Problem);
        config.node.data_dir = temp.path().to_owned();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(data_directory(&config)[0].state, State::Warning);
        assert_eq!(nearest_existing(Path::new("none/at/all")), Path::new("."));
    }
}
