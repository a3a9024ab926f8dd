//! One question to one peer, and what becomes of the peer that answers it badly or not at all.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{PeerId, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::store::StoreError;
use bytecave_messages::swarm::{RefusalKind, SwarmError};
use bytecave_messages::sync::{ListedDigest, SyncAnswer, SyncRequest};

use super::shared::Shared;
use crate::conduct::Deed;

/// The longest that an answer is waited for, whatever the network's own time-outs are.
const ANSWER_TIME: Duration = Duration::from_mins(2);
/// Waiting for a permit of this node's own, or for a peer that is busy, and how often.
const WAIT: Duration = Duration::from_secs(2);
const WAITS_MAX: u32 = 15;
/// A list that this node compares by is not older than that.
const FRESH: Duration = Duration::from_secs(2);

/// Why an exchange with a peer is over before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The peer, or this node, has too much to do.
    Busy,
    /// The peer does not answer.
    Silent,
    /// The peer gave what no honest peer gives.
    Lied,
    /// The peer refuses.
    Refused(RefusalKind),
    /// The peer does not speak of this.
    Unsupported,
    /// This node's store did not do its part.
    Store,
    /// This node is stopping, or has only begun.
    NotNow,
}

impl Ended {
    /// Whether it ends what is said about one shard, and not all that there is to say.
    pub(super) fn is_of_one_shard(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Store)
    }
}

impl Shared {
    /// Asks `peer`, and again while it is busy.
    pub(super) async fn ask(
        &self,
        peer: PeerId,
        request: SyncRequest,
    ) -> Result<SyncAnswer, Ended> {
        let conduct = &self.parts.conduct;
        for _ in 0..WAITS_MAX {
            self.tallies.reconcile_questions.one();
            let asked = self.parts.swarm.sync(peer, request.clone());
            let Ok(answered) = tokio::time::timeout(ANSWER_TIME, asked).await else {
                conduct.note(&peer, Deed::Silent);
                return Err(Ended::Silent);
            };
            let error = match answered {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error {
                SwarmError::Full(_)
                | SwarmError::Busy { .. }
                | SwarmError::Refused {
                    kind: RefusalKind::Busy,
                    ..
                } => tokio::time::sleep(WAIT).await,
                SwarmError::TimedOut { .. } | SwarmError::Unreachable { .. } => {
                    tracing::debug!(%peer, %error, "a holder does not answer");
                    conduct.note(&peer, Deed::Silent);
                    return Err(Ended::Silent);
                }
                SwarmError::BadAnswer { reason, .. } => return Err(self.lied(&peer, &reason)),
                SwarmError::Refused { kind, reason, .. } => {
                    tracing::debug!(%peer, reason, "a holder refuses to compare");
                    return Err(Ended::Refused(kind));
                }
                SwarmError::Unsupported { .. }
                | SwarmError::NotFound { .. }
                | SwarmError::Body(_) => return Err(Ended::Unsupported),
                SwarmError::Unavailable => return Err(Ended::NotNow),
            }
        }
        Err(Ended::Busy)
    }

    /// `peer` lied.
    pub(super) fn lied(&self, peer: &PeerId, how: &dyn fmt::Display) -> Ended {
        tracing::warn!(%peer, reason = %how, "a holder's answer cannot be true");
        self.parts.conduct.note(peer, Deed::Lied);
        Ended::Lied
    }

    /// An answer to another question than the one that was asked.
    pub(super) fn answered_another(&self, peer: &PeerId) -> Ended {
        self.lied(peer, &"an answer to another question")
    }

    /// What this node has of a shard.
    pub(super) async fn own_list(&self, shard: ShardId) -> Result<Arc<[ListedDigest]>, Ended> {
        let list = || {
            self.listings
                .get(Share::Repair, shard, FRESH, false, || true)
        };
        let list = self.of_store(list).await?;
        list.ok_or(Ended::Store)
    }

    /// Asks the store, and again while it is full.
    pub(super) async fn of_store<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Ended>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        for _ in 0..WAITS_MAX {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(StoreError::Full(_)) => tokio::time::sleep(WAIT).await,
                Err(StoreError::Unavailable) => return Err(Ended::NotNow),
                Err(error) => {
                    tracing::warn!(%error, "the store does not say what is here");
                    return Err(Ended::Store);
                }
            }
        }
        Err(Ended::Busy)
    }
}
