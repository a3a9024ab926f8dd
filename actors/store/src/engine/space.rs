//! How much may be stored: the quota, and the disk's reserve.
//!
//! The quota counts sealed bytes: live ones, dead ones whose space is not free yet, and those that
//! uploads in flight have reserved. A reservation is returned when it is dropped, whatever becomes
//! of the upload. The reserve is free disk that blobs leave to the write-ahead log and compaction.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytecave_messages::store::StoreError;

/// Free disk is asked for again when it was last asked for this long ago.
const DISK_FRESH: Duration = Duration::from_secs(1);
/// The same for a reservation of at least [`LARGE_BYTES`].
const DISK_FRESH_LARGE: Duration = Duration::from_millis(50);
const LARGE_BYTES: u64 = 4 << 20;
/// Room for less than this counts as none.
const LEAST_ROOM_BYTES: u64 = 64 << 10;
/// The default reserve is the larger of this and a twentieth of the disk.
const LEAST_RESERVE_BYTES: u64 = 1 << 30;

/// The accounts of quota and disk. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Space(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    quota: u64,
    reserve: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Live and dead sealed bytes.
    used: u64,
    /// Reserved by uploads in flight.
    reserved: u64,
    /// Part of `reserved` that is on the disk already, so that it is not missed there twice.
    written: u64,
    disk: Option<Disk>,
}

#[derive(Debug, Clone, Copy)]
struct Disk {
    free: u64,
    total: u64,
    asked: Instant,
}

/// The accounts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpaceSnapshot {
    pub(crate) quota: u64,
    pub(crate) reserved: u64,
    pub(crate) disk_free: u64,
    pub(crate) disk_reserve: u64,
    /// Whether there is no room left for anything.
    pub(crate) full: bool,
}

/// Bytes set aside for one blob; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Space,
    bytes: u64,
    written: u64,
}

impl Space {
    /// The accounts of the file system that `dir` is on.
    pub(crate) fn new(dir: PathBuf, quota: u64, reserve: Option<u64>) -> Self {
        Self(Arc::new(Inner {
            dir,
            quota,
            reserve,
            state: Mutex::default(),
        }))
    }

    /// Sets `bytes` aside, or says what is missing.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let mut reservation = Reservation {
            space: self.clone(),
            bytes: 0,
            written: 0,
        };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Books a change of live and dead bytes.
    pub(crate) fn book(&self, before: u64, after: u64) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(before).saturating_add(after);
    }

    /// How it stands.
    pub(crate) fn snapshot(&self) -> SpaceSnapshot {
        let mut state = self.lock();
        let disk = self.disk(&mut state, DISK_FRESH);
        let reserve = self.reserve_of(disk);
        let free = self.0.quota.saturating_sub(state.used + state.reserved);
        SpaceSnapshot {
            quota: self.0.quota,
            reserved: state.reserved,
            disk_free: disk.free,
            disk_reserve: reserve,
            full: free < LEAST_ROOM_BYTES || disk.free < reserve.saturating_add(LEAST_ROOM_BYTES),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums only, each change is one statement.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self, state: &mut State, fresh: Duration) -> Disk {
        if let Some(disk) = state.disk.filter(|disk| disk.asked.elapsed() < fresh) {
            return disk;
        }
        let asked = Instant::now();
        let disk = match rustix::fs::statvfs(&self.0.dir) {
            Ok(stat) => Disk {
                free: stat.f_bavail.saturating_mul(stat.f_frsize),
                total: stat.f_blocks.saturating_mul(stat.f_frsize),
                asked,
            },
            Err(error) => {
                tracing::warn!(%error, "free disk space is unknown, the last known figure stands");
                state.disk.map_or(
                    Disk {
                        free: u64::MAX,
                        total: 0,
                        asked,
                    },
                    |disk| Disk { asked, ..disk },
                )
            }
        };
        state.disk = Some(disk);
        disk
    }

    fn reserve_of(&self, disk: Disk) -> u64 {
        self.0
            .reserve
            .unwrap_or_else(|| LEAST_RESERVE_BYTES.max(disk.total / 20))
    }
}

impl Reservation {
    /// Sets `more` bytes aside besides.
    pub(crate) fn grow(&mut self, more: u64) -> Result<(), StoreError> {
        let space = &self.space;
        let mut state = space.lock();
        let free = space.0.quota.saturating_sub(state.used + state.reserved);
        if more > free {
            return Err(StoreError::QuotaReached {
                quota_bytes: space.0.quota,
                free_bytes: free,
                needed_bytes: more,
            });
        }
        let fresh = if more >= LARGE_BYTES {
            DISK_FRESH_LARGE
        } else {
            DISK_FRESH
        };
        let disk = space.disk(&mut state, fresh);
        let reserve_bytes = space.reserve_of(disk);
        let promised = state.reserved.saturating_sub(state.written);
        if disk.free < reserve_bytes.saturating_add(promised).saturating_add(more) {
            return Err(StoreError::DiskFull {
                free_bytes: disk.free,
                reserve_bytes,
            });
        }
        state.reserved += more;
        drop(state);
        self.bytes += more;
        Ok(())
    }

    /// Sets aside at least `bytes` in all.
    pub(crate) fn at_least(&mut self, bytes: u64, step: u64) -> Result<(), StoreError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let missing = bytes - self.bytes;
        self.grow(missing.max(step)).or_else(|_| self.grow(missing))
    }

    /// Gives back what is more than `bytes`; all of the rest is on the disk.
    pub(crate) fn settle(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        let mut state = self.space.lock();
        state.reserved = state.reserved.saturating_sub(more);
        drop(state);
        self.bytes -= more;
        self.note_written(self.bytes);
    }

    /// Notes how much of it is on the disk.
    pub(crate) fn note_written(&mut self, bytes: u64) {
        let written = bytes.min(self.bytes);
        let mut state = self.space.lock();
        state.written = state.written.saturating_sub(self.written) + written;
        drop(state);
        self.written = written;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.space.lock();
        state.reserved = state.reserved.saturating_sub(self.bytes);
        state.written = state.written.saturating_sub(self.written);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn space(quota: u64, reserve: u64) -> Space {
        Space::new(std::env::temp_dir(), quota, Some(reserve))
    }

    #[test]
    fn a_dropped_reservation_is_given_back() {
        let space = space(1_000_000, 0);
        let mut first = space.reserve(600_000).unwrap();
        let error = space.reserve(500_000).unwrap_err();
        assert_eq!(
            error,
            StoreError::QuotaReached {
                quota_bytes: 1_000_000,
                free_bytes: 400_000,
                needed_bytes: 500_000
            }
        );
        first.grow(400_000).unwrap();
        first.note_written(700_000);
        assert!(space.snapshot().full);
        drop(first);
        assert_eq!(space.snapshot().reserved, 0);
        assert!(!space.snapshot().full);
        assert!(space.reserve(1_000_000).is_ok());
    }

    #[test]
    fn steps_shrink_to_what_is_left() {
        let space = space(100_000, 0);
        let mut upload = space.reserve(0).unwrap();
        upload.at_least(10_000, 60_000).unwrap();
        assert_eq!(space.snapshot().reserved, 60_000);
        upload.at_least(70_000, 60_000).unwrap();
        assert_eq!(space.snapshot().reserved, 70_000);
        assert!(upload.at_least(100_001, 60_000).is_err());
    }

    #[test]
    fn what_is_settled_keeps_only_what_it_needs() {
        let space = space(100_000, 0);
        let mut upload = space.reserve(60_000).unwrap();
        upload.settle(40_000);
        assert_eq!(space.snapshot().reserved, 40_000);
        assert!(space.reserve(60_000).is_ok());
        drop(upload);
        assert_eq!(space.snapshot().reserved, 0);
    }

    #[test]
    fn used_bytes_count_too() {
        let space = space(100_000, 0);
        space.book(0, 90_000);
        assert!(space.reserve(10_001).is_err());
        space.book(90_000, 10_000);
        assert!(space.reserve(90_000).is_ok());
    }

    #[test]
    fn the_disk_keeps_its_reserve() {
        let space = space(u64::MAX, u64::MAX / 2);
        assert!(matches!(space.reserve(1), Err(StoreError::DiskFull { .. })));
        assert!(space.snapshot().full);
    }
}
