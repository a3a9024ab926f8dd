//! What is remembered of peers over a restart: `p2p/members.json` in the data directory, one JSON
//! document with its version, mode 0600.
//!
//! Read and written by a thread of its own: into a temporary file that is synced and renamed, so
//! that a crash leaves the old or the new one. Not more often than every 30 seconds, and at the
//! stop. Read like anything that others wrote: bounded, every entry judged. What cannot be read is
//! set aside and never stops the start: peers are found again without it.

mod file;

use std::path::{Path, PathBuf};
use std::thread;

use bytecave_core::PeerId;
use tokio::sync::{mpsc, oneshot};

use crate::members::{Members, RememberedPeer};

/// Shortest time between two writes. A crash forgets at most what changed in it.
const EVERY_MS: u64 = 30_000;

/// The file, and the thread that has it in hand.
#[derive(Debug)]
pub(crate) struct MembersFile {
    /// None when there is no thread: nothing is written then.
    saves: Option<mpsc::Sender<Save>>,
    saved_ms: u64,
}

/// What is to be written.
#[derive(Debug)]
struct Save {
    peers: Vec<RememberedPeer>,
    /// Dropped when it is written or has failed.
    done: Option<oneshot::Sender<()>>,
}

impl MembersFile {
    /// Reads what is remembered, and makes the directory if it is missing. Never fails: a node
    /// whose file cannot be read or written runs without, and says so.
    pub(crate) async fn open(directory: &Path, own: PeerId) -> (Self, Vec<RememberedPeer>) {
        // One waits while one is written; a third is refused, and what changed is written later.
        let (saves, receiver) = mpsc::channel(1);
        let (loaded, peers) = oneshot::channel();
        let directory = directory.to_owned();
        let spawned = thread::Builder::new()
            .name("members-file".to_owned())
            .spawn(move || keep(directory, loaded, receiver));
        let saves = match spawned {
            Ok(_) => Some(saves),
            Err(problem) => {
                tracing::warn!(%problem, "peers are not remembered over a restart");
                None
            }
        };
        // The thread's death, like its absence, leaves nothing remembered.
        let mut peers = peers.await.unwrap_or_default();
        peers.retain(|remembered| remembered.peer != own);
        (Self { saves, saved_ms: 0 }, peers)
    }

    /// Hands over what is to be written if it changed and 30 seconds have passed. Returns at once.
    pub(crate) fn save_if_due(&mut self, members: &mut Members, now_ms: u64) {
        // A clock that was set back does not put it off.
        let passed = now_ms.checked_sub(self.saved_ms);
        if passed.is_some_and(|passed| passed < EVERY_MS) {
            return;
        }
        let Some(saves) = &self.saves else {
            return;
        };
        let Ok(place) = saves.try_reserve() else {
            return;
        };
        if members.take_changed() {
            self.saved_ms = now_ms;
            place.send(Save {
                peers: members.remembered(),
                done: None,
            });
        }
    }

    /// Writes a last time, and waits until it is written or has failed.
    pub(crate) async fn close(self, peers: Vec<RememberedPeer>) {
        let Some(saves) = self.saves else {
            return;
        };
        let (done, written) = oneshot::channel();
        let done = Some(done);
        let save = Save { peers, done };
        if saves.send(save).await.is_ok() {
            // Only its end is waited for: `done` is dropped, not answered.
            let _ = written.await;
        }
    }
}

/// The thread: reads once, then writes until nobody hands anything over any more.
fn keep(
    directory: PathBuf,
    loaded: oneshot::Sender<Vec<RememberedPeer>>,
    mut saves: mpsc::Receiver<Save>,
) {
    let _ = loaded.send(file::load(&directory));
    let mut failed = false;
    while let Some(Save { peers, done }) = saves.blocking_recv() {
        match file::write(&directory, &peers) {
            Ok(()) => failed = false,
            Err(problem) if !failed => {
                failed = true;
                let directory = directory.display();
                tracing::warn!(%directory, %problem, "cannot write which peers are remembered");
            }
            // Said once, until it works again.
            Err(_) => {}
        }
        drop(done);
    }
}

#[cfg(test)]
mod tests {
    use bytecave_core::PublicKey;
    use libp2p::core::{ConnectedPoint, Endpoint, transport::PortUse};
    use libp2p::swarm::ConnectionId;
    use std::time::Duration;

    use super::*;
    use crate::members::Limits;

    const NOW: u64 = 1_800_000_000_000;

    fn own() -> PeerId {
        PublicKey::new([0; 32]).peer_id()
    }

    fn members() -> Members {
        let limits = Limits {
            members: 10,
            connections: 10,
            timeout: Duration::from_mins(3),
        };
        let mut members = Members::new(own(), limits);
        let own: libp2p::Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        members.listening([&own].into_iter());
        members
    }

    fn meet(members: &mut Members, number: u8) {
        let peer = PublicKey::new([number; 32]).peer_id();
        let address = format!("/ip4/127.0.0.1/tcp/{}", 1000 + u16::from(number));
        let endpoint = ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let connection = ConnectionId::new_unchecked(usize::from(number));
        assert!(members.connected(peer, connection, &endpoint, NOW));
        let protocols = ["/bytecave/info/1.0.0"].into_iter();
        members.identified(peer, "bytecave/1", protocols, [].into_iter(), NOW);
    }

    #[tokio::test]
    async fn what_is_closed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("p2p");
        let (file, nobody) = MembersFile::open(&directory, own()).await;
        assert_eq!(nobody, []);
        let mut before = members();
        (1..=3).for_each(|number| meet(&mut before, number));
        file.close(before.remembered()).await;

        let (file, remembered) = MembersFile::open(&directory, own()).await;
        assert_eq!(remembered, before.remembered());
        let mut after = members();
        after.restore(remembered, NOW + 1000);
        assert_eq!(after.remembered(), before.remembered());
        let candidates = after.dial_candidates(NOW + 1000, 10);
        assert_eq!(candidates.len(), 3);
        assert!(candidates.iter().all(|c| c.addresses.len() == 1));
        file.close(after.remembered()).await;
    }

    #[tokio::test]
    async fn only_what_changed_is_written_and_not_too_often() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = MembersFile::open(dir.path(), own()).await;
        let mut members = members();
        meet(&mut members, 1);
        file.save_if_due(&mut members, NOW);
        assert!(!members.take_changed(), "it was handed over");

        // Until the thread has taken it up.
        drop(file.saves.as_ref().unwrap().reserve().await.unwrap());
        meet(&mut members, 2);
        file.save_if_due(&mut members, NOW + EVERY_MS - 1);
        assert!(members.take_changed(), "it is too early");

        file.save_if_due(&mut members, NOW + EVERY_MS);
        assert_eq!(file.saved_ms, NOW, "nothing changed");

        meet(&mut members, 3);
        // A clock that was set back by a year.
        file.save_if_due(&mut members, NOW - 31_536_000_000);
        assert_eq!(file.saved_ms, NOW - 31_536_000_000);
        file.close(members.remembered()).await;
        let (_, remembered) = MembersFile::open(dir.path(), own()).await;
        assert_eq!(remembered.len(), 3);
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let occupied = dir.path().join("file");
        std::fs::write(&occupied, "").unwrap();
        let (mut file, remembered) = MembersFile::open(&occupied.join("p2p"), own()).await;
        assert_eq!(remembered, []);
        let mut members = members();
        meet(&mut members, 1);
        file.save_if_due(&mut members, NOW);
        file.close(members.remembered()).await;
    }
}
