//! Taking blobs that peers copy here and that clients of the network store.
//!
//! What is cheap to refuse is refused first: by who sends, by the signature, by what the store said of
//! itself, and only then by the bytes. A nonce is used up last of all, right before the bytes are
//! stored: what was refused before that can be sent again as it is. Only what the store itself sheds
//! then has to be signed again.
//!
//! What a peer sends is kept here and never brought to others: whoever took the blob from its client
//! does that.

mod strangers;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytecave_core::{BlobCid, PeerId, ShardId, VerifiedStore};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::replicator::{BlobFacts, BytesAt, PlaceError};
use bytecave_messages::store::{Foreign, InTransit, NewBlob, Standing, StoreError, Stored, Word};
use bytecave_messages::swarm::{
    Admission, InboundReplica, InboundStore, Kept, Refusal, ReplicaBody, StatedBlob,
};

use crate::conduct::{Conduct, Deed};
use crate::facts::Facts;
use crate::holders::Holders;
use crate::place::Placer;
use crate::policy::{self, Permission, StorePolicy};
use crate::refuse::refusal;
use crate::{media_type, verify};
use strangers::Room;
pub(crate) use strangers::Strangers;

const FALSE_BEFORE: &str =
    "it sent or gave what is false, and is heard again when some hours have passed";

/// Time for holders to take a blob that a client of the network stored: such clients wait little longer.
const FORWARD_WITHIN: Duration = Duration::from_secs(15);

/// Takes blobs in.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) store: StorePort,
    /// Brings clients' blobs of others' shards to them.
    pub(crate) placer: Placer,
    pub(crate) facts: Facts,
    pub(crate) admission: Admission,
    pub(crate) policy: StorePolicy,
    pub(crate) holders: Holders,
    pub(crate) conduct: Conduct,
    pub(crate) strangers: Strangers,
    /// Milliseconds since 1970.
    pub(crate) now_ms: fn() -> u64,
}

/// Milliseconds since 1970, by the clock of the system.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Receiver {
    /// Answers a peer that sends a copy.
    pub(crate) async fn replica(self, replica: InboundReplica) {
        let InboundReplica {
            from,
            blob,
            body,
            answer,
            permit,
        } = replica;
        let cid = blob.cid;
        let kept = self.take(&from, blob, body).await;
        match &kept {
            Ok(kept) => tracing::debug!(%from, ?cid, known = kept.already_stored, "replica kept"),
            Err(refused) => tracing::debug!(%from, ?cid, %refused, "replica refused"),
        }
        answer.send(kept);
        drop(permit);
    }

    /// Decides by what is stated alone; only then the bytes may come.
    async fn take(
        &self,
        from: &PeerId,
        blob: StatedBlob,
        body: ReplicaBody,
    ) -> Result<Kept, Refusal> {
        let (cid, size) = (blob.cid, blob.size);
        self.admission.admits(from)?;
        if self.conduct.is_blocked(from) {
            return Err(Refusal::NotAdmitted(FALSE_BEFORE));
        }
        self.room(&cid, Word::Peer)?;
        // Bytes that came already are compared with what they are said to be.
        if self.is_here(&cid).await? && matches!(body, ReplicaBody::Offered(_)) {
            return Ok(Kept {
                cid,
                already_stored: true,
            });
        }
        if matches!(body, ReplicaBody::Offered(_)) && self.restored(&cid).await {
            return Ok(Kept {
                cid,
                already_stored: true,
            });
        }
        let room = self.room_of(from, &blob)?;
        let body = match body {
            ReplicaBody::Here(bytes) => BlobBody::Whole(bytes),
            ReplicaBody::Offered(offer) => offer.accept(),
        };
        let stored = self.put(body, Some(cid), blob.content_type, Word::Peer);
        let stored = match stored.await {
            Ok(stored) => stored,
            Err(error) => {
                if matches!(error, StoreError::Mismatch { .. }) {
                    self.conduct.note(from, Deed::Lied);
                }
                return Err(refusal(error, size));
            }
        };
        if let Some(room) = room.filter(|_| stored.new) {
            room.fill();
        }
        if stored.new {
            self.see_to(stored.shard);
        }
        // The bytes are those of the CID, and stay; what was said of them beside that is not true.
        let false_root = blob.blob_root.is_some_and(|root| root != stored.blob_root);
        if false_root || stored.size != size {
            self.conduct.note(from, Deed::Lied);
            let actual = if false_root {
                stored.blob_root.to_string()
            } else {
                cid.digest().to_hex()
            };
            return Err(Refusal::Mismatch { actual });
        }
        Ok(Kept {
            cid,
            already_stored: !stored.new,
        })
    }

    /// A copy came to a node that does not hold its shard, in the place of one that does: nobody compares
    /// with it, so it is to be handed over.
    fn see_to(&self, shard: ShardId) {
        let placement = self.holders.placement();
        if placement.is_none_or(|placement| !placement.holds(&self.holders.me(), shard)) {
            self.holders.owe(shard);
        }
    }

    /// Whether it is here already, as durably as a peer may rely on. Where this node answers its own
    /// clients before a blob is on disk, it is taken once more, since that is synced.
    async fn is_here(&self, cid: &BlobCid) -> Result<bool, Refusal> {
        let standing = self.store.check(Share::Peer, vec![cid.digest()]).await;
        match standing.map_err(|error| refusal(error, 0))?.first() {
            Some(Standing::Deleted) => Err(Refusal::Declined),
            Some(Standing::Blocked) => Err(Refusal::Blocked),
            Some(Standing::Here) => Ok(self.facts.get().is_some_and(|facts| facts.synced)),
            Some(Standing::Absent | Standing::Damaged) | None => Ok(false),
        }
    }

    /// Takes a copy back that was let go and is still on disk, instead of its bytes once more; whether there
    /// was one. Where that fails the bytes come.
    async fn restored(&self, cid: &BlobCid) -> bool {
        let restored = matches!(self.store.restore(Share::Peer, *cid).await, Ok(true));
        if restored && let Some(facts) = self.facts.get() {
            self.see_to(facts.shard(cid));
        }
        restored
    }

    /// Room for a blob of a stranger's; none is needed by one that holds the shard as this node does,
    /// or that the operator listed.
    fn room_of(&self, from: &PeerId, blob: &StatedBlob) -> Result<Option<Room>, Refusal> {
        let (me, placement) = (self.holders.me(), self.holders.placement());
        let fellows = placement.is_some_and(|placement| {
            let shard = placement.shard_of(&blob.cid);
            placement.holds(from, shard) && placement.holds(&me, shard)
        });
        if fellows || self.admission != Admission::Everyone {
            return Ok(None);
        }
        let limit = self.facts.get().map_or(0, |facts| facts.quota_bytes);
        let room = self.strangers.room(from, blob.size, limit);
        room.map(Some).ok_or(Refusal::Full)
    }

    /// Answers a client of the network that stores.
    pub(crate) async fn store(self, mut request: InboundStore) {
        let kept = self.try_store(&mut request).await;
        let from = &request.from;
        match &kept {
            Ok(Kept {
                cid,
                already_stored,
            }) => {
                tracing::info!(%from, ?cid, known = already_stored, "blob stored for a client of the network");
            }
            Err(refused) => tracing::debug!(%from, %refused, "store refused"),
        }
        request.answer.send(kept);
    }

    async fn try_store(&self, request: &mut InboundStore) -> Result<Kept, Refusal> {
        let authorization = request.authorization.as_ref();
        let permission = self
            .policy
            .decide(authorization, request.app_id.as_deref())?;
        if let Some(cid) = &request.cid {
            self.room(cid, Word::Client)?;
        }
        // Nothing is signed: that the bytes are those of the stated CID is for the store to see.
        let mut expected = request.cid;
        if let Permission::If(authorization) = permission {
            let verified = policy::verify(authorization, (self.now_ms)())?;
            let digest = verify::digest(&request.body).await;
            let cid = BlobCid::from_digest(digest);
            if expected.is_some_and(|stated| stated != cid) {
                let actual = digest.to_hex();
                return Err(Refusal::Mismatch { actual });
            }
            policy::covers(&verified, &digest)?;
            self.room(&cid, Word::Client)?;
            self.use_up(&verified).await?;
            expected = Some(cid);
        }
        let body = std::mem::take(&mut request.body);
        let (size, content_type) = (body.len() as u64, request.content_type.clone());
        let body = BlobBody::Whole(body);
        let stored = self.put(body, expected, content_type, Word::Client).await;
        let stored = stored.map_err(|error| refusal(error, size))?;
        let kept = Kept {
            cid: stored.cid,
            already_stored: !stored.new,
        };
        if let Some(transit) = stored.transit.clone() {
            self.forward(request, stored, transit).await?;
        }
        Ok(kept)
    }

    /// Brings a client's blob to those who hold its shard; one of them must have it.
    async fn forward(
        &self,
        request: &InboundStore,
        stored: Stored,
        transit: InTransit,
    ) -> Result<(), Refusal> {
        let blob = BlobFacts {
            cid: stored.cid,
            size: stored.size,
            blob_root: stored.blob_root,
            content_type: request.content_type.clone(),
        };
        let bytes = BytesAt::Transit(transit);
        let placed = self.placer.clone().bring(blob, bytes, 1, FORWARD_WITHIN);
        match placed.await {
            Ok(placed) if placed.confirmed > 0 => Ok(()),
            Ok(_) => Err(Refusal::Unavailable("no holder of its shard answered")),
            Err(PlaceError::NoHolder { shard, .. }) => Err(Refusal::NotOurShard(shard)),
            Err(PlaceError::Full(_)) => Err(Refusal::Busy),
            Err(PlaceError::Unavailable) => Err(Refusal::Unavailable("the node is stopping")),
        }
    }

    /// Uses the nonce of an authorization up.
    async fn use_up(&self, verified: &VerifiedStore) -> Result<(), Refusal> {
        let (key, expires_ms) = (verified.nonce_key, verified.expires_ms);
        let unused = self.store.use_nonce(Share::Peer, key, expires_ms).await;
        match unused {
            Ok(true) => Ok(()),
            Ok(false) => Err(policy::nonce_used()),
            Err(error) => Err(refusal(error, 0)),
        }
    }

    /// What the store's own answer will be, where it is known beforehand. What a client brings of
    /// others' shards is handed to them, if there are any; what a peer sends never goes further.
    fn room(&self, cid: &BlobCid, word: Word) -> Result<(), Refusal> {
        let Some(facts) = self.facts.get() else {
            return Ok(());
        };
        if let Some(shard) = facts.foreign_shard(cid) {
            if word == Word::Client && self.placer.knows_holders(shard) {
                return Ok(());
            }
            return Err(Refusal::NotOurShard(shard));
        }
        if facts.full {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    async fn put(
        &self,
        body: BlobBody,
        expected: Option<BlobCid>,
        content_type: Option<String>,
        word: Word,
    ) -> Result<Stored, StoreError> {
        let blob = NewBlob {
            body,
            expected,
            content_type: media_type::believed(content_type),
            file_name: None,
            word,
            durable: true,
            foreign: match word {
                Word::Client => Foreign::Transit,
                Word::Peer => Foreign::Refuse,
            },
        };
        self.store.put(Share::Peer, blob).await
    }
}

#[cfg(test)]
mod tests;
