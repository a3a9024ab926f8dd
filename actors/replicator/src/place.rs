//! Bringing copies of a blob to those who hold its shard.
//!
//! Two want that: a client who waits for copies, and the outbox, which has what nobody waits for. One
//! job copies one blob at a time, and the other looks on. Only what a client of this node stored is
//! brought to others; what a peer sent never is, so that nothing runs in circles.

mod away;
mod fan;
mod flights;
mod job;
mod source;

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{Digest, PeerId, ShardId};
use bytecave_messages::budget::{ActorName, Full, Share};
use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::replicator::{BlobFacts, BytesAt, PlaceBlob, PlaceError, Placed};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::conduct::Conduct;
use crate::holders::Holders;
use crate::placement::Placement;

use away::Away;
pub(crate) use flights::Outcome;
use flights::{Entered, Flights, Progress};
use job::{Job, Means};
use source::Source;

/// Blobs that are copied at once because clients wait for copies, or waited. Too low: clients wait for
/// one another. Too high: memory, up to [`source::WHOLE_BYTES`] for each.
const JOBS: usize = 64;
/// What a client is told to wait when all of them are taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Brings copies to holders. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Placer {
    store: StorePort,
    means: Means,
    flights: Flights,
    jobs: Arc<Semaphore>,
}

impl Placer {
    pub(crate) fn new(
        store: StorePort,
        swarm: SwarmPort,
        holders: Holders,
        conduct: Conduct,
    ) -> Self {
        Self {
            store,
            means: Means {
                swarm,
                holders,
                conduct,
                away: Away::default(),
            },
            flights: Flights::default(),
            jobs: Arc::new(Semaphore::new(JOBS)),
        }
    }

    pub(crate) fn holders(&self) -> &Holders {
        &self.means.holders
    }

    /// Brings a client's blob to the holders of its shard, and answers when enough have it or the time
    /// is up; the rest goes on.
    pub(crate) async fn place(self, wanted: PlaceBlob) -> Result<Placed, PlaceError> {
        let PlaceBlob {
            blob,
            bytes,
            wanted,
            patience,
            permit,
        } = wanted;
        let span = permit.span().clone();
        let placed = self.bring(blob, bytes, wanted, patience).instrument(span);
        let placed = placed.await;
        drop(permit);
        placed
    }

    /// The same for a caller that holds a permit itself.
    pub(crate) async fn bring(
        self,
        blob: BlobFacts,
        bytes: BytesAt,
        wanted: u32,
        patience: Duration,
    ) -> Result<Placed, PlaceError> {
        let deadline = Instant::now() + patience;
        let here = matches!(bytes, BytesAt::Store);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let reached = self.reach(&blob, bytes, wanted, deadline).await?;
        self.answer(&blob, here, &reached)
    }

    /// Whether there is somebody to bring a blob of `shard` to.
    pub(crate) fn knows_holders(&self, shard: ShardId) -> bool {
        let (me, placement) = (self.means.holders.me(), self.means.holders.placement());
        placement.is_some_and(|placement| {
            let holders = placement.holders(shard);
            let mut others = holders.iter().filter(|holder| holder.peer != me);
            others.any(|holder| holder.accepting)
        })
    }

    /// What came of it when `wanted` copies exist, nothing more is under way, or the time is up.
    async fn reach(
        &self,
        blob: &BlobFacts,
        bytes: BytesAt,
        wanted: usize,
        deadline: Instant,
    ) -> Result<Reached, PlaceError> {
        let here = usize::from(matches!(bytes, BytesAt::Store));
        let mut known = Outcome::default();
        loop {
            let Ok(slot) = timeout_at(deadline, Arc::clone(&self.jobs).acquire_owned()).await
            else {
                return crowded(here, known);
            };
            let Ok(slot) = slot else {
                return Err(PlaceError::Unavailable);
            };
            let entered = self.flights.enter(blob.cid.digest(), true, &known);
            let (leads, mut progress) = match entered {
                Entered::Leads(lead) => {
                    let progress = lead.watch();
                    let job = self.job(blob.clone(), bytes.clone(), Share::Client);
                    tokio::spawn(run(job, lead, slot).in_current_span());
                    (true, progress)
                }
                Entered::Follows(progress) => {
                    // Whoever copies it has a job already.
                    drop(slot);
                    (false, progress)
                }
            };
            let last = follow(&mut progress, deadline, |progress| {
                progress.outcome.confirmed() + here >= wanted
            });
            let last = last.await;
            // Who copied it for the outbox did not look for others in the place of those that failed.
            if leads || last.urgent || !last.ended || last.outcome.confirmed() + here >= wanted {
                return Ok(Reached {
                    outcome: last.outcome,
                    ended: last.ended,
                });
            }
            known = last.outcome;
        }
    }

    fn answer(
        &self,
        blob: &BlobFacts,
        here: bool,
        Reached { outcome, ended }: &Reached,
    ) -> Result<Placed, PlaceError> {
        let me = self.means.holders.me();
        let placement = self.means.holders.placement();
        let confirmed = number(outcome.confirmed() + usize::from(here && !outcome.gone));
        let Some(placement) = placement else {
            // Nobody is known yet: one copy is what there is.
            let target = 1;
            return if here {
                Ok(Placed { confirmed, target })
            } else {
                Err(PlaceError::Unavailable)
            };
        };
        let shard = placement.shard_of(&blob.cid);
        // Whoever is still being tried may yet take it.
        if confirmed == 0 && !here && *ended {
            let holders = placement.holders(shard);
            return Err(PlaceError::NoHolder {
                cid: blob.cid,
                shard,
                holders: holders.iter().map(|holder| holder.peer).collect(),
            });
        }
        let target = number(target(&placement, shard, &me, here));
        Ok(Placed { confirmed, target })
    }

    /// Brings a blob of the outbox to the holders of its shard, unless a client's order does.
    pub(crate) async fn copy(&self, blob: BlobFacts) -> Outcome {
        let digest = blob.cid.digest();
        let known = self.recent(&digest).unwrap_or_default();
        match self.flights.enter(digest, false, &known) {
            Entered::Leads(lead) => {
                self.job(blob, BytesAt::Store, Share::Repair)
                    .run(lead)
                    .await
            }
            Entered::Follows(mut progress) => {
                let ended = progress.wait_for(|progress| progress.ended).await;
                let ended = ended.map(|progress| progress.outcome.clone());
                ended.unwrap_or_default()
            }
        }
    }

    /// What came of copying a blob lately.
    pub(crate) fn recent(&self, digest: &Digest) -> Option<Outcome> {
        self.flights.recent(digest)
    }

    /// Whether there is nobody to bring a blob of `shard` to, and this node holds it.
    pub(crate) fn is_alone(&self, shard: ShardId) -> bool {
        let holders = &self.means.holders;
        let (me, placement) = (holders.me(), holders.placement());
        placement.is_some_and(|placement| {
            let known = placement.holders(shard);
            let others = known.iter().filter(|holder| holder.peer != me);
            placement.holds(&me, shard)
                && others.filter(|holder| holder.accepting).count() == 0
                && (placement.factor() <= 1 || holders.uncounted(shard).is_empty())
        })
    }

    fn job(&self, blob: BlobFacts, bytes: BytesAt, share: Share) -> Job {
        Job {
            here: matches!(bytes, BytesAt::Store),
            urgent: share == Share::Client,
            source: Source {
                store: self.store.clone(),
                share,
                cid: blob.cid,
                size: blob.size,
                at: bytes,
                whole: Arc::new(OnceCell::new()),
            },
            means: self.means.clone(),
            blob,
            share,
        }
    }
}

/// What came of a client's order in its time.
struct Reached {
    outcome: Outcome,
    /// Nobody else is being tried.
    ended: bool,
}

/// Runs to its end, whether a client still waits or not.
async fn run(job: Job, lead: flights::Lead, slot: OwnedSemaphorePermit) {
    job.run(lead).await;
    drop(slot);
}

/// The progress when it is enough, has ended, or the time is up.
async fn follow(
    progress: &mut watch::Receiver<Progress>,
    deadline: Instant,
    enough: impl Fn(&Progress) -> bool,
) -> Progress {
    let heard = progress.wait_for(|progress| progress.ended || enough(progress));
    // Whether it was heard or not: what stands there now is the latest.
    let _ = timeout_at(deadline, heard).await.is_ok();
    progress.borrow().clone()
}

/// No job was free in the time there was: a blob that is here is copied from the outbox.
fn crowded(here: usize, known: Outcome) -> Result<Reached, PlaceError> {
    if here > 0 || known.confirmed() > 0 {
        return Ok(Reached {
            outcome: known,
            ended: false,
        });
    }
    Err(PlaceError::Full(Full {
        actor: ActorName::Replicator,
        capacity: JOBS,
        retry_after: RETRY_AFTER,
    }))
}

/// How many copies there shall be of a blob that a client brought to this node: the factor, or as many
/// as there are nodes for.
fn target(placement: &Placement, shard: ShardId, me: &PeerId, here: bool) -> usize {
    let holders = placement.holders(shard);
    let others = holders
        .iter()
        .filter(|holder| holder.counted && holder.peer != *me);
    placement.factor().min(others.count() + usize::from(here))
}

fn number(copies: usize) -> u32 {
    u32::try_from(copies).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod views;
