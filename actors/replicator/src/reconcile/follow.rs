//! Following what changes: who holds what, how copies are, and what is to be written down.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::budget::Share;
use bytecave_messages::store::Standing;
use tokio::time::Instant;

use super::shared::{Shared, Survey};
use super::{compare, view};

const TICK: Duration = Duration::from_secs(1);
/// Copies that failed and are asked for again in one look.
const ASKED_AT_ONCE: usize = 16;
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
        ask_again(&shared).await;
        view::refresh(&shared).await;
        shared.listings.forget_old();
        if saved.elapsed() >= SAVE_EVERY {
            saved = Instant::now();
            let steps = shared.conduct_steps();
            let news = [
                shared.board().take_changed(),
                shared.audits().take_changed(),
                shared.handover.take_changed(),
            ];
            if news.contains(&true) || steps != written {
                written = steps;
                shared.save().await;
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Wants proof of copies that failed, now and then, as long as this node has the blob to compare with.
async fn ask_again(shared: &Shared) {
    let now_ms = shared.now_ms();
    let Some(network) = shared.parts.holders.network() else {
        return;
    };
    let knows = |peer: &PeerId| network.peers.iter().any(|it| it.peer_id == *peer);
    shared.audits().forget_unknown(knows, now_ms);
    let due = shared.audits().due(now_ms, ASKED_AT_ONCE);
    let digests: Vec<_> = due.iter().map(|(_, digest)| *digest).collect();
    if due.is_empty() {
        return;
    }
    let Ok(standings) = compare::standings(shared, Share::Repair, &digests).await else {
        return;
    };
    for ((peer, digest), (_, standing)) in due.into_iter().zip(standings) {
        match standing {
            // Not heard, it is wanted again another time.
            Standing::Here => drop(shared.audits().want(peer, BlobCid::from_digest(digest))),
            // It is asked for again when it is whole.
            Standing::Damaged => {}
            Standing::Absent | Standing::Deleted | Standing::Blocked => {
                shared.audits().forget(&peer, &digest);
            }
        }
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
    shared.handover.prune(|shard| placement.holds(&me, shard));
}
