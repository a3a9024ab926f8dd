//! The audits that nobody asked for: by lot, and again after a silence.

use std::sync::Arc;
use std::time::Duration;

use bytecave_messages::proof::AuditCause;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::one::{About, Target, audit};
use super::pace::Pace;
use super::{Shared, joined};

/// Audits by lot at a time, and as many after a silence. Fewer, and a few peers that hang hold up all others.
const AT_ONCE: usize = 4;
/// Time between two looks at who owes an answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Audits for as long as it is let.
pub(super) async fn run(shared: Arc<Shared>) {
    let share = shared.share();
    let mut pace = Pace::new(shared.parts.per_day, Instant::now(), share);
    let (mut by_lot, mut again) = (JoinSet::new(), JoinSet::new());
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = due(pace.as_ref()) => {
                if by_lot.len() < AT_ONCE {
                    spawn_by_lot(&shared, &mut by_lot);
                } else {
                    shared.parts.counters.skipped.one();
                }
                if let Some(pace) = &mut pace {
                    pace.go_on(Instant::now(), shared.share());
                }
            }
            _ = look.tick() => spawn_again(&shared, &mut again),
            Some(ended) = by_lot.join_next() => joined(ended),
            Some(ended) = again.join_next() => joined(ended),
        }
    }
}

/// Waits for the next audit by lot: for ever, if there are none.
async fn due(pace: Option<&Pace>) {
    match pace {
        Some(pace) => sleep_until(pace.next()).await,
        None => std::future::pending().await,
    }
}

fn spawn_by_lot(shared: &Arc<Shared>, audits: &mut JoinSet<()>) {
    let Some((shard, peer)) = shared.draw() else {
        return;
    };
    let target = Target {
        peer,
        about: About::Shard(shard),
        cause: AuditCause::Random,
    };
    spawn(shared, audits, target);
}

/// Asks again whoever owes an answer, if it still is a holder; if not, it is looked at again later, since who
/// holds what is known only some time after a start.
fn spawn_again(shared: &Arc<Shared>, audits: &mut JoinSet<()>) {
    while audits.len() < AT_ONCE {
        let Some((peer, cid)) = shared.parts.ledger.take_due() else {
            return;
        };
        if shared.is_holder(&peer, &cid) {
            let target = Target {
                peer,
                about: About::Blob(cid),
                cause: AuditCause::Contained,
            };
            spawn(shared, audits, target);
        }
    }
}

fn spawn(shared: &Arc<Shared>, audits: &mut JoinSet<()>, target: Target) {
    let shared = Arc::clone(shared);
    audits.spawn(async move {
        audit(&shared, target).await;
    });
}
