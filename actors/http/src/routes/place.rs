//! Copies of a blob that a client stores: how many it asks to wait for, and what came of it.

use actix_web::http::StatusCode;
use bytecave_core::{BlobCid, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::replicator::{BlobFacts, BytesAt};
use bytecave_messages::store::{Durability, Foreign, StoreError, Stored};

use super::Replicas;
use crate::problem::{Code, Problem, wrong_shard};
use crate::state::Shared;

/// How many durable copies a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted(u32);

/// A blob as the store took it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) stored: Stored,
    /// The media type that came with it.
    pub(crate) content_type: Option<String>,
}

/// What the client is told of a blob's copies.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) replicas: Replicas,
    pub(crate) durability: Durability,
}

impl Wanted {
    /// What `?replicas=` says, if this node could ever reach it.
    pub(crate) fn read(shared: &Shared, replicas: Option<u32>) -> Result<Self, Problem> {
        let factor = shared.settings.replication_factor;
        match replicas {
            None | Some(1) => Ok(Self(1)),
            Some(0) => Err(Problem::new(
                Code::BadQuery,
                format!("replicas=0 asks for no copy: expected 1 to {factor}"),
            )),
            Some(asked) if asked > factor => Err(Problem::new(
                Code::ReplicasUnavailable,
                format!(
                    "replicas={asked} asks for more copies than there shall be: expected 1 to {factor} (replication.factor)"
                ),
            )
            .with_member("factor", factor)),
            Some(asked) if shared.network_is_off() => Err(Problem::new(
                Code::ReplicasUnavailable,
                format!(
                    "replicas={asked} asks for copies on other nodes, and networking is off (P2P_ENABLED): expected 1"
                ),
            )
            .with_member("factor", factor)),
            Some(asked) => Ok(Self(asked)),
        }
    }

    /// Whether this node's copy must be synced before the answer: copies that are counted are durable.
    pub(crate) fn is_durable(self) -> bool {
        self.0 > 1
    }

    /// Brings a blob to the others and says how far that came. A blob of our own whose client waits for
    /// no other copy is brought to them in the background.
    pub(crate) async fn reach(
        self,
        shared: &Shared,
        taken: &mut Taken,
    ) -> Result<Outcome, Problem> {
        let transit = taken.stored.transit.take();
        let stored = &taken.stored;
        let kept = transit.is_none();
        let alone = Replicas::ours_alone(shared.copies().as_deref(), stored.shard);
        if kept && self.0 == 1 {
            return Ok(Outcome {
                status: done(stored.new),
                replicas: alone,
                durability: stored.durability,
            });
        }
        let facts = BlobFacts {
            cid: stored.cid,
            size: stored.size,
            blob_root: stored.blob_root,
            content_type: first_type(shared, taken, kept).await,
        };
        let bytes = transit.map_or(BytesAt::Store, BytesAt::Transit);
        let patience = shared.settings.place_timeout;
        let placed: Result<_, Problem> = async {
            let replicator = shared.replicator()?;
            let placed = replicator.place(Share::Client, facts, bytes, self.0, patience);
            Ok(placed.await?)
        }
        .await;
        match placed {
            // Nobody has it: a client that takes any 2xx for stored would lose it.
            Ok(placed) if !kept && placed.confirmed == 0 => Err(nobody_in_time(shared, stored)),
            Ok(placed) => Ok(Outcome {
                status: if placed.confirmed < self.0 {
                    StatusCode::ACCEPTED
                } else {
                    done(stored.new || !kept)
                },
                replicas: placed.into(),
                durability: if kept {
                    stored.durability
                } else {
                    Durability::Strict
                },
            }),
            Err(problem) if !kept => Err(problem),
            // It is durable here and stands in the outbox: what cannot be waited for still comes.
            Err(problem) => {
                tracing::debug!(?problem, "copies are not waited for");
                Ok(Outcome {
                    status: StatusCode::ACCEPTED,
                    replicas: alone,
                    durability: stored.durability,
                })
            }
        }
    }
}

/// What becomes of a blob of another node's shard: with networking off there is nobody to bring it to.
pub(crate) fn foreign(shared: &Shared) -> Foreign {
    if shared.network_is_off() {
        Foreign::Refuse
    } else {
        Foreign::Transit
    }
}

/// Refuses a blob of another node's shard while none of those who keep it can be reached, so that its
/// body need not be sent.
pub(crate) fn check_reach(shared: &Shared, cid: BlobCid, shard: ShardId) -> Result<(), Problem> {
    if shared.network_is_off() {
        return Err(StoreError::NotOurShard { cid, shard }.into());
    }
    let keepers = shared.keepers(shard);
    if keepers.within_reach {
        return Ok(());
    }
    let known = keepers.peers.len();
    Err(wrong_shard(
        format!(
            "shard {shard} of blob {cid} is not one of this node's shards, and none of the {known} nodes known to keep it can be reached"
        ),
        shard.get(),
        &keepers.peers,
    ))
}

fn done(new: bool) -> StatusCode {
    if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// The media type of a blob: that of the first store.
async fn first_type(shared: &Shared, taken: &Taken, kept: bool) -> Option<String> {
    let Taken {
        stored,
        content_type,
    } = taken;
    if kept
        && !stored.new
        && let Ok(store) = shared.store()
        && let Ok(info) = store.info(Share::Client, stored.cid).await
    {
        return info.content_type;
    }
    content_type.clone()
}

fn nobody_in_time(shared: &Shared, stored: &Stored) -> Problem {
    let Stored { cid, shard, .. } = stored;
    let seconds = shared.settings.place_timeout.as_secs_f32();
    Problem::new(
        Code::PeersTimeout,
        format!(
            "blob {cid} belongs to shard {shard}, which this node does not keep, and no node that does had stored it within {seconds} s (replication.place_timeout)"
        ),
    )
    .with_member("shard", shard.get())
}
