//! The rounds: one comparison after the other, each with one peer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{PeerId, ShardId};
use tokio::time::{Instant, timeout};

use super::exchange::Ended;
use super::schedule::Schedule;
use super::shared::Shared;
use super::{chance, compare, offers};

/// Time between two looks at whether somebody is due.
const TICK: Duration = Duration::from_secs(1);
/// Time between becoming holders of the same shard and comparing, on average: the outbox of whoever
/// took blobs has done its part by then.
const SOON: Duration = Duration::from_secs(10);
/// A comparison that takes longer than this, and than an interval, is given up: others wait for its end.
const LONGEST: Duration = Duration::from_mins(5);
/// A comparison that failed is tried again after this part of an interval.
const AGAIN_PART: u32 = 3;

/// Compares until it is dropped.
pub(super) async fn run(shared: Arc<Shared>, mut schedule: Schedule) {
    let mut handing = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let Some(survey) = shared.survey() else {
            continue;
        };
        let now = Instant::now();
        let soon = || chance::jittered(SOON.min(shared.interval()));
        schedule.follow(&survey.sharing, now, soon);
        let reachable = shared.reachable();
        let due = schedule.due(now, |peer| reachable.contains(peer));
        if let Some((peer, shards)) = due {
            let wait = compare(&shared, peer, &shards).await;
            schedule.set(&peer, Instant::now() + chance::jittered(wait));
        }
        // Where intervals are short somebody is always due, and this must not wait for that to end.
        offers::hand_over(&shared, &survey, &reachable, &mut handing).await;
    }
}

/// Compares with one peer; answers when to do so again.
async fn compare(shared: &Arc<Shared>, peer: PeerId, shards: &[ShardId]) -> Duration {
    let most = LONGEST.max(shared.interval());
    let compared = timeout(most, compare::with_peer(shared, peer, shards)).await;
    match compared.unwrap_or(Err(Ended::Silent)) {
        Ok(()) => {
            shared.tallies.reconcile_rounds.one();
            shared.interval()
        }
        Err(ended) => {
            shared.tallies.reconcile_rounds_failed.one();
            tracing::debug!(%peer, ?ended, "a comparison came to no end");
            match ended {
                Ended::Unsupported | Ended::Lied => shared.interval(),
                _ => shared.interval() / AGAIN_PART,
            }
        }
    }
}
