//! Following what changes: who holds what, how copies are, and what is to be written down.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::{Shared, Survey};
use super::view;

const TICK: Duration = Duration::from_secs(1);
/// Time between two writes of the state file. A crash forgets what changed in it.
const SAVE_EVERY: Duration = Duration::from_mins(1);

/// Follows until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut saved = Instant::now();
    let mut written = shared.conduct_steps();
    loop {
        survey(&shared).await;
        for shard in shared.parts.holders.take_owed() {
            shared.board().forget_offers(shard);
        }
        view::refresh(&shared).await;
        shared.listings.forget_old();
        if saved.elapsed() >= SAVE_EVERY {
            saved = Instant::now();
            let steps = shared.conduct_steps();
            if shared.board().take_changed() || steps != written {
                written = steps;
                shared.save().await;
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Works out who shares what, if who holds what has changed.
async fn survey(shared: &Shared) {
    let (Some(placement), Some(facts)) =
        (shared.parts.holders.placement(), shared.parts.facts.get())
    else {
        return;
    };
    let latest = shared.survey();
    if latest.is_some_and(|latest| Arc::ptr_eq(&latest.placement, &placement)) {
        return;
    }
    let me = shared.me();
    let survey = Survey::of(Arc::clone(&placement), &me, &facts).await;
    shared.set_survey(survey);
    let now_ms = shared.now_ms();
    shared.board().prune(&placement, &me, now_ms);
}
