//! No room: puts are refused and say why, nothing that was acknowledged is lost, deleting helps.

use std::path::Path;
use std::process::Command;

use bytecave_core::BlobCid;
use bytecave_messages::store::{StoreCondition, StoreError};

use crate::harness::{LARGE, Store, content, expect_whole, wait_until, wait_until_freed};

#[test]
fn the_quota_refuses_and_a_deletion_makes_room() {
    let mut store = Store::new();
    store.options.quota_bytes = 12 << 20;
    let engine = store.open();
    let contents = [content(1, LARGE), content(2, LARGE), content(3, LARGE)];
    store.put(&engine, &contents[0]);
    store.put(&engine, &contents[1]);
    let refused = store.try_put(&engine, &contents[2]).unwrap_err();
    assert!(
        matches!(refused, StoreError::QuotaReached { .. }),
        "{refused}"
    );
    assert_eq!(
        engine.snapshot().reserved_bytes,
        0,
        "nothing stays reserved"
    );
    store.delete(&engine, BlobCid::of(&contents[0])).unwrap();
    wait_until_freed(&engine);
    wait_until("dead bytes are booked", || {
        engine.snapshot().dead_bytes == 0
    });
    store.put(&engine, &contents[2]);
    expect_whole(&engine, &contents[1]);
    expect_whole(&engine, &contents[2]);
    drop(engine);
    assert_eq!(store.verified_clean(), 2);
}

#[test]
fn the_reserve_refuses_before_the_disk_does() {
    let mut store = Store::new();
    store.options.disk_reserve_bytes = Some(u64::MAX / 2);
    let engine = store.open();
    for content in [content(1, 1000), content(2, LARGE)] {
        let refused = store.try_put(&engine, &content).unwrap_err();
        assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    }
    assert_eq!(engine.snapshot().condition, StoreCondition::Full);
    drop(engine);
    assert_eq!(store.verified_clean(), 0);
}

/// A file system of its own, unmounted at the end.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` where this user may not mount.
    fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_file_system_without_space_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(disk) = Tmpfs::mount(48) else {
        println!("not tried: mounting a small file system needs root");
        return;
    };
    let store = Store::at(disk.path());
    let engine = store.open();
    // No reserve, and somebody else fills the disk: the database itself meets the end of it.
    let ballast = disk.path().join("ballast");
    let mut kept = Vec::new();
    for seed in 0..4 {
        let content = content(seed, 1 << 20);
        store.put(&engine, &content);
        kept.push(content);
    }
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    let free = usize::try_from(stat.f_bavail * stat.f_frsize).unwrap();
    std::fs::write(&ballast, vec![0; free - (2 << 20)]).unwrap();

    let mut refused = 0;
    // The log has room set aside, which is used up first.
    for seed in 100..200 {
        if refused == 5 {
            break;
        }
        let content = content(seed, 900_000);
        match store.try_put(&engine, &content) {
            Ok(_) => kept.push(content),
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        StoreError::DiskFull { .. } | StoreError::ReadOnly { .. }
                    ),
                    "{error}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 5, "100 puts did not fill the disk");
    for content in &kept {
        expect_whole(&engine, content);
    }

    std::fs::remove_file(&ballast).unwrap();
    let content = content(200, 900_000);
    wait_until("writes are taken again", || {
        store.try_put(&engine, &content).is_ok()
    });
    kept.push(content);
    drop(engine);
    let engine = store.open();
    for content in &kept {
        expect_whole(&engine, content);
    }
    assert_eq!(engine.snapshot().blobs, kept.len() as u64);
    drop(engine);
    assert_eq!(store.verified_clean(), kept.len() as u64);
}
