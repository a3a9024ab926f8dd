//! The audits that the replicator wants.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::proof::{AuditCause, Outcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::one::{About, Target, audit};
use super::wanted::Next;
use super::{Shared, joined, lock};

/// Questions at a time. Fewer, and a few peers that hang hold up all others.
const AT_ONCE: usize = 4;
/// Time between two questions: at most 50 a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks for as long as it is let.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut audits = JoinSet::new();
    let mut free_at = Instant::now();
    loop {
        let now = Instant::now();
        let next = if audits.len() >= AT_ONCE {
            Next::Nothing
        } else if now < free_at {
            Next::At(free_at)
        } else {
            lock(&shared.wanted).next(now)
        };
        let wake = match next {
            Next::Ask(peer, cid) => {
                free_at = now + PAUSE;
                audits.spawn(ask(Asking::new(&shared, peer), cid));
                continue;
            }
            Next::At(at) => Some(at),
            Next::Nothing => None,
        };
        tokio::select! {
            () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            () = shared.woken.notified() => {}
            Some(ended) = audits.join_next() => joined(ended),
        }
    }
}

/// A peer is being asked. Dropped, it may be asked again.
struct Asking {
    shared: Arc<Shared>,
    peer: PeerId,
    answered: bool,
}

impl Asking {
    fn new(shared: &Arc<Shared>, peer: PeerId) -> Self {
        Self {
            shared: Arc::clone(shared),
            peer,
            answered: true,
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut wanted = lock(&self.shared.wanted);
        wanted.done(&self.peer, self.answered, Instant::now());
    }
}

async fn ask(mut asking: Asking, cid: BlobCid) {
    let target = Target {
        peer: asking.peer,
        about: About::Blob(cid),
        cause: AuditCause::Wanted,
    };
    let found = audit(&asking.shared, target).await;
    asking.answered = !matches!(
        found,
        Some(Outcome::Contained | Outcome::Offline | Outcome::Unsupported)
    );
}
