//! One audit, from the question to the verdict.

use std::time::Duration;

use bytecave_core::proof::{Challenge, ChallengeCount, Nonce};
use bytecave_core::{BlobCid, PeerId, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::proof::{AuditCause, AuditRecord, ChallengeOpened, Outcome};
use bytecave_messages::store::{BlobInfo, StoreError};
use tokio::time::{Instant, timeout};

use super::{Shared, lock};
use crate::challenge::{self, Asked, Finding};
use crate::ledger::Ended;

/// Time in which the network connects to a peer or gives it up, beside the peer's own time for its answer. While a
/// challenge may be open the peer is given nothing of the blob.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Whom to ask, about what, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) peer: PeerId,
    pub(super) about: About,
    pub(super) cause: AuditCause,
}

/// About what.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    /// A blob of this shard, by lot.
    Shard(ShardId),
    /// This blob.
    Blob(BlobCid),
}

/// Asks, judges, notes and tells. `None` if there was nothing to ask for or no way to ask: then nothing is said of
/// the peer.
pub(super) async fn audit(shared: &Shared, target: Target) -> Option<Outcome> {
    let record = attempt(shared, target).await;
    if record.is_none() {
        shared.parts.counters.skipped.one();
    }
    record
}

async fn attempt(shared: &Shared, target: Target) -> Option<Outcome> {
    let parts = &shared.parts;
    let permit = parts.budget.try_acquire(Share::Repair, "audit");
    let _permit = permit.ok()?;
    let info = find(shared, &target).await?;
    let (peer, cid) = (target.peer, info.cid);
    let _open = Open::new(shared, peer, cid)?;
    let nonce = parts.chance.bytes();
    let nonce = nonce.inspect_err(|error| tracing::error!(%error, "no audit without a nonce"));
    let nonce = Nonce::new(nonce.ok()?);
    let _mine = parts.open.open(nonce);
    let asked = Asked {
        peer,
        challenge: Challenge {
            cid,
            nonce,
            count: ChallengeCount::default(),
        },
        size: info.size,
        blob_root: info.blob_root,
        new: shared
            .alike_ms(info.shard, &peer)
            .is_none_or(|alike_ms| alike_ms <= info.created_ms),
    };
    let (finding, took) = question(shared, &asked).await?;
    if !finding.is_passed() && is_gone(shared, cid).await {
        // What is no longer here may have been deleted everywhere.
        parts.ledger.forget(&peer, &cid);
        return None;
    }
    let record = parts.ledger.note(Ended {
        peer,
        cid,
        size: info.size,
        cause: target.cause,
        finding,
        took,
    });
    parts.counters.found(record.outcome);
    log(&record);
    let outcome = record.outcome;
    parts.events.audit_finished(record);
    Some(outcome)
}

/// What the peer's answer shows, and how long it took; nothing if nobody would have kept the blob from the peer
/// meanwhile.
async fn question(shared: &Shared, asked: &Asked) -> Option<(Finding, Duration)> {
    let parts = &shared.parts;
    let count = asked.challenge.count;
    let patience = challenge::patience(parts.timeout, asked.size, count);
    let at_most = CONNECT_WITHIN + patience;
    let started = Instant::now();
    let opened = ChallengeOpened {
        peer: asked.peer,
        cid: asked.challenge.cid,
        until: (started + at_most).into_std(),
    };
    if !parts.events.challenge_opened(opened) {
        return None;
    }
    let answer = parts.swarm.challenge(asked.peer, asked.challenge, patience);
    let finding = match timeout(at_most, answer).await {
        Ok(answer) => challenge::judge(asked, answer),
        Err(_) => Finding::unknown("the network gave no answer in time"),
    };
    Some((finding, started.elapsed()))
}

/// What is known here of the blob to ask for.
async fn find(shared: &Shared, target: &Target) -> Option<BlobInfo> {
    let parts = &shared.parts;
    match target.about {
        About::Blob(cid) => {
            let found = parts.store.info(Share::Repair, cid).await;
            if found.as_ref().is_err_and(says_gone) {
                parts.ledger.forget(&target.peer, &cid);
            }
            found.ok()
        }
        About::Shard(shard) => {
            let point = parts.chance.bytes().ok()?;
            let pick = parts.chance.number().ok()?;
            let found = parts.store.sample(shard, point, pick).await;
            let told = found.inspect_err(|error| tracing::debug!(%error, "no blob to audit"));
            told.ok()?
        }
    }
}

async fn is_gone(shared: &Shared, cid: BlobCid) -> bool {
    let found = shared.parts.store.info(Share::Repair, cid).await;
    found.is_err_and(|error| says_gone(&error))
}

fn says_gone(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. } | StoreError::Deleted { .. } | StoreError::Blocked { .. }
    )
}

fn log(record: &AuditRecord) {
    let AuditRecord { peer_id, cid, .. } = record;
    let reason = record.reason.as_deref().unwrap_or_default();
    let outcome = record.outcome.word();
    if record.outcome == Outcome::Failed {
        let evidence = record.evidence.is_some();
        tracing::warn!(
            peer = %peer_id,
            %cid,
            reason,
            evidence,
            audit = record.sequence,
            "a peer failed an audit: its copy counts as lost"
        );
    } else {
        tracing::debug!(peer = %peer_id, %cid, outcome, reason, "audited");
    }
}

/// A challenge is open; dropped, it is not.
struct Open<'a> {
    shared: &'a Shared,
    of: (PeerId, BlobCid),
}

impl<'a> Open<'a> {
    /// `None` if that peer is being asked about that blob already.
    fn new(shared: &'a Shared, peer: PeerId, cid: BlobCid) -> Option<Self> {
        let of = (peer, cid);
        let new = lock(&shared.open).insert(of);
        new.then_some(Self { shared, of })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.shared.open).remove(&self.of);
    }
}
