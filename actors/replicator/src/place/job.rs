//! Copying one blob to those who are to have it.
//!
//! A new blob goes to every accepting holder of its shard at once. Of those that are promised, one that
//! refuses it for good is replaced by the next in rank that keeps the shard; where a client waits, so
//! is one that fails, or takes too long.

use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::body::{BlobBody, BodyError};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::SwarmPort;
use bytecave_messages::replicator::BlobFacts;
use bytecave_messages::swarm::{RefusalKind, ReplicaSent, SwarmError};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::away::Away;
use super::flights::{Lead, Outcome};
use super::source::Source;
use crate::conduct::{Conduct, Deed};
use crate::holders::Holders;
use crate::placement::{Holder, Placement};

/// Time that a peer has to answer, and the slowest that a blob may go beside that. Too short: distant
/// peers never get a copy. Too long: one that is stuck holds a job.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;
/// After so long, and so much for the size, another is tried beside a peer that a client waits for.
const LATE: Duration = Duration::from_secs(5);
const LATE_BYTES_PER_SECOND: u64 = 1 << 20;
/// How often a peer that has too much to do is tried, and the first wait before the next time; it
/// doubles.
const TRIES: u32 = 4;
const TRY_AGAIN_IN: Duration = Duration::from_millis(500);
/// Most peers that one blob is brought to in the place of holders. Too low: a few nodes that are gone
/// fail a store. Too high: a node that is cut off asks all others for each blob.
const STAND_INS: usize = 8;
/// Largest blob in the form of the first version.
const UNCOUNTED_MAX_BYTES: u64 = 32 << 20;

/// What a job is done with.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) swarm: SwarmPort,
    pub(super) holders: Holders,
    pub(super) conduct: Conduct,
    pub(super) away: Away,
}

/// Copying one blob.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) means: Means,
    pub(super) blob: BlobFacts,
    pub(super) source: Source,
    pub(super) share: Share,
    /// Whether this node keeps a copy itself.
    pub(super) here: bool,
    /// Whether a client waits.
    pub(super) urgent: bool,
}

/// What a peer did with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// It has it durably.
    Has,
    /// It may have it: it speaks the first version only.
    HasUncounted,
    /// It refuses it for good.
    Declines,
    /// It has too much to do.
    Busy,
    /// It, or the way to it, fails at the moment.
    Fails,
    /// It cannot be reached.
    Away,
    /// It gave no answer in its time.
    Silent,
    /// It took the bytes more slowly than the others could wait for.
    LeftBehind,
    /// This node has too much to do.
    Crowded,
    /// The blob is not here any more.
    Gone,
}

/// A peer that is being tried.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each holds or not, whatever the others do"
)]
struct Trying {
    peer: PeerId,
    on_probation: bool,
    unproved: bool,
    /// Whether its copy is one of those that are promised.
    counted: bool,
    since: Instant,
    /// Another was tried beside it.
    late: bool,
}

impl Trying {
    fn holder(holder: &Holder) -> Self {
        Self {
            peer: holder.peer,
            on_probation: holder.on_probation,
            unproved: holder.unproved,
            counted: holder.counted,
            since: Instant::now(),
            late: false,
        }
    }

    fn stand_in(peer: PeerId) -> Self {
        Self {
            peer,
            on_probation: false,
            unproved: false,
            counted: true,
            since: Instant::now(),
            late: false,
        }
    }
}

/// How the copies of one blob stand while it is being copied.
#[derive(Debug)]
struct Standing {
    /// Copies on others that are promised.
    promised: usize,
    trying: Vec<Trying>,
    /// Of the promised, those that failed.
    failed: usize,
}

impl Standing {
    /// How many are wanting and should be brought to others.
    fn short(&self, outcome: &Outcome, urgent: bool) -> usize {
        let hoped = self.trying.iter();
        let hoped = hoped
            .filter(|trying| trying.counted && !trying.late)
            .count();
        // Those that failed get theirs when they are back, unless a client waits.
        let later = if urgent { 0 } else { self.failed };
        self.promised
            .saturating_sub(outcome.confirmed() + hoped + later)
    }
}

impl Job {
    /// Copies the blob; what comes of it stands in `lead`, and is returned.
    pub(super) async fn run(self, lead: Lead) -> Outcome {
        let Some(placement) = self.means.holders.placement() else {
            lead.note(|outcome| outcome.cut_short = true);
            return lead.outcome();
        };
        self.bring_to_holders(&placement, &lead).await;
        lead.end();
        self.bring_to_others(&placement, &lead).await;
        lead.outcome()
    }

    async fn bring_to_holders(&self, placement: &Placement, lead: &Lead) {
        let mut standing = self.start(placement, lead);
        let receivers = standing.trying.len();
        let mut bodies = Vec::new();
        if receivers > 0 {
            bodies = match self.source.bodies(receivers).await {
                Ok(bodies) => bodies,
                Err(error) => return unread(lead, &error),
            };
        }
        let mut under_way: FuturesUnordered<_> = standing
            .trying
            .iter()
            .zip(bodies)
            .map(|(trying, body)| self.bring(trying.peer, Some(body)))
            .collect();
        let mut stand_ins = None;
        let late = LATE + per_second(self.blob.size, LATE_BYTES_PER_SECOND);
        let mut look = interval_at(Instant::now() + late, late);
        loop {
            let short = standing.short(&lead.outcome(), self.urgent);
            for _ in 0..short {
                let next = stand_ins.get_or_insert_with(|| self.stand_ins(placement, lead));
                let Some(peer) = next.next() else {
                    break;
                };
                standing.trying.push(Trying::stand_in(peer));
                under_way.push(self.bring(peer, None));
            }
            tokio::select! {
                replied = under_way.next() => match replied {
                    None | Some((_, Reply::Gone)) => {
                        lead.note(|outcome| outcome.gone |= replied.is_some());
                        return;
                    }
                    Some((peer, reply)) => self.settle(&mut standing, lead, peer, reply),
                },
                now = look.tick(), if self.urgent => {
                    for trying in &mut standing.trying {
                        trying.late |= now.duration_since(trying.since) >= late;
                    }
                }
            }
        }
    }

    /// Whom to bring it to first.
    fn start(&self, placement: &Placement, lead: &Lead) -> Standing {
        let (holders, me) = (&self.means.holders, self.means.holders.me());
        let known = lead.outcome();
        let others = placement.holders(placement.shard_of(&self.blob.cid));
        let others = others
            .iter()
            .filter(|holder| holder.peer != me && holder.accepting);
        let mut standing = Standing {
            promised: 0,
            trying: Vec::new(),
            failed: 0,
        };
        for holder in others {
            standing.promised += usize::from(holder.counted);
            if known.is_done_with(&holder.peer) {
                continue;
            }
            if self.is_left_alone(&holder.peer) {
                standing.failed += usize::from(holder.counted);
                lead.note(|outcome| outcome.failed.push(holder.peer));
            } else {
                standing.trying.push(Trying::holder(holder));
            }
        }
        tracing::trace!(cid = ?self.blob.cid, me = %holders.me(), ?standing, "blob to be copied");
        standing
    }

    fn is_left_alone(&self, peer: &PeerId) -> bool {
        self.means.conduct.is_blocked(peer) || self.means.away.is_away(peer)
    }

    /// Who is tried in the place of holders, by rank.
    fn stand_ins(
        &self,
        placement: &Placement,
        lead: &Lead,
    ) -> impl Iterator<Item = PeerId> + use<> {
        let (me, known) = (self.means.holders.me(), lead.outcome());
        let mut beyond = placement.beyond(placement.shard_of(&self.blob.cid));
        beyond.retain(|peer| *peer != me && !known.is_done_with(peer) && !self.is_left_alone(peer));
        beyond.into_iter().take(STAND_INS)
    }

    /// Notes what a peer did.
    fn settle(&self, standing: &mut Standing, lead: &Lead, peer: PeerId, reply: Reply) {
        let at = standing
            .trying
            .iter()
            .position(|trying| trying.peer == peer);
        let Some(trying) = at.map(|at| standing.trying.swap_remove(at)) else {
            return;
        };
        self.remember(&peer, reply);
        tracing::debug!(cid = ?self.blob.cid, %peer, ?reply, "copy");
        let failed = !matches!(reply, Reply::Has | Reply::Declines);
        standing.failed += usize::from(failed && trying.counted);
        lead.note(|outcome| match reply {
            Reply::Has if trying.unproved => outcome.unproved.push(peer),
            Reply::Has => outcome.has.push((peer, trying.on_probation)),
            Reply::Declines => outcome.declines.push(peer),
            Reply::Crowded => outcome.cut_short = true,
            _ => outcome.failed.push(peer),
        });
    }

    /// Holds for and against a peer what it did. That one refuses, or is not there, is no fault.
    fn remember(&self, peer: &PeerId, reply: Reply) {
        let Means { conduct, away, .. } = &self.means;
        match reply {
            Reply::Has | Reply::HasUncounted => {
                conduct.note(peer, Deed::Served);
                away.met(peer);
            }
            Reply::Silent => {
                // Of all that wait for the same peer at the same time, one says so.
                if !away.is_away(peer) {
                    conduct.note(peer, Deed::Silent);
                }
                away.missed(peer);
            }
            Reply::Away => away.missed(peer),
            Reply::Declines | Reply::Busy => away.met(peer),
            Reply::Fails | Reply::LeftBehind | Reply::Crowded | Reply::Gone => {}
        }
    }

    /// While fewer nodes count than copies are wanted, peers of the first version get some more.
    async fn bring_to_others(&self, placement: &Placement, lead: &Lead) {
        if self.blob.size > UNCOUNTED_MAX_BYTES || lead.outcome().gone {
            return;
        }
        let mut others = uncounted(&self.means.holders, placement, &self.blob, self.here);
        let known = lead.outcome();
        others.retain(|peer| !known.extra.contains(peer) && !self.is_left_alone(peer));
        if others.is_empty() {
            return;
        }
        lead.note(|outcome| outcome.extra.extend(&others));
        let Ok(bodies) = self.source.bodies(others.len()).await else {
            return;
        };
        let each = others.iter().zip(bodies);
        let each = each.map(|(peer, body)| self.bring(*peer, Some(body)));
        for (peer, reply) in join_all(each).await {
            self.remember(&peer, reply);
        }
    }

    /// Brings it to `peer`, whose time is bounded.
    async fn bring(&self, peer: PeerId, first: Option<BlobBody>) -> (PeerId, Reply) {
        let limit = ANSWER_WITHIN + per_second(self.blob.size, SLOWEST_BYTES_PER_SECOND);
        let reply = timeout(limit, self.tries(peer, first)).await;
        (peer, reply.unwrap_or(Reply::Silent))
    }

    async fn tries(&self, peer: PeerId, mut first: Option<BlobBody>) -> Reply {
        let mut wait = TRY_AGAIN_IN;
        for left in (0..TRIES).rev() {
            let body = match first.take() {
                Some(body) => Ok(Some(body)),
                None => self.source.bodies(1).await.map(|mut bodies| bodies.pop()),
            };
            let reply = match body {
                Ok(Some(body)) => self.send(peer, body).await,
                Ok(None) => Reply::Crowded,
                Err(error) => of_body(&error),
            };
            let again = matches!(reply, Reply::Busy | Reply::Crowded | Reply::LeftBehind);
            if !again || left == 0 {
                return reply;
            }
            sleep(wait).await;
            wait *= 2;
        }
        Reply::Busy
    }

    async fn send(&self, peer: PeerId, body: BlobBody) -> Reply {
        let audits = self.means.holders.audits();
        if audits.withholds(&peer, &self.blob.cid.digest()) {
            // It is to show that it has the blob: it must not get it from here meanwhile.
            return Reply::Busy;
        }
        let swarm = &self.means.swarm;
        let sent = swarm.send_replica(self.share, peer, self.blob.clone(), body);
        match sent.await {
            Ok(ReplicaSent { counted: true, .. }) => Reply::Has,
            Ok(_) => Reply::HasUncounted,
            Err(error) => {
                tracing::debug!(cid = ?self.blob.cid, %error, "copy not brought");
                of_error(&error)
            }
        }
    }
}

/// Who gets an uncounted copy, if there shall be any.
pub(super) fn uncounted(
    holders: &Holders,
    placement: &Placement,
    blob: &BlobFacts,
    here: bool,
) -> Vec<PeerId> {
    let shard = placement.shard_of(&blob.cid);
    let target = super::target(placement, shard, &holders.me(), here);
    let wanting = placement.factor().saturating_sub(target);
    if wanting == 0 {
        return Vec::new();
    }
    let mut found = holders.uncounted(shard);
    found.truncate(wanting);
    found
}

fn unread(lead: &Lead, error: &BodyError) {
    lead.note(|outcome| match of_body(error) {
        Reply::Gone => outcome.gone = true,
        _ => outcome.cut_short = true,
    });
}

fn of_body(error: &BodyError) -> Reply {
    match error {
        BodyError::Deleted | BodyError::Damaged => Reply::Gone,
        BodyError::Stopped { .. } => Reply::LeftBehind,
        _ => Reply::Crowded,
    }
}

fn of_error(error: &SwarmError) -> Reply {
    match error {
        SwarmError::Full(_) | SwarmError::Unavailable => Reply::Crowded,
        SwarmError::Unreachable { .. } => Reply::Away,
        SwarmError::TimedOut { .. } | SwarmError::BadAnswer { .. } => Reply::Silent,
        SwarmError::Busy { .. } => Reply::Busy,
        SwarmError::Body(error) => of_body(error),
        SwarmError::Unsupported { .. } | SwarmError::NotFound { .. } => Reply::Fails,
        SwarmError::Refused { kind, .. } => match kind {
            RefusalKind::Busy => Reply::Busy,
            // Sending the same again changes nothing.
            RefusalKind::Declined
            | RefusalKind::Blocked
            | RefusalKind::TooLarge
            | RefusalKind::NotOurShard
            | RefusalKind::Mismatch => Reply::Declines,
            RefusalKind::NotFound
            | RefusalKind::Invalid
            | RefusalKind::NotAdmitted
            | RefusalKind::Full
            | RefusalKind::Damaged
            | RefusalKind::Unavailable => Reply::Fails,
        },
    }
}

fn per_second(size: u64, bytes: u64) -> Duration {
    Duration::from_secs(size / bytes)
}
