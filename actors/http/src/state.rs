//! What the workers share: latest snapshots, counters, limits. Nothing here is ever waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytecave_core::{BlobCid, NodeIdentity, PeerId, ShardId, ShardSet};
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::http::OpenRoutes;
use bytecave_messages::lifecycle::{PartChanged, PartState};
use bytecave_messages::memory::{ByteBudget, HeldMemory};
use bytecave_messages::ports::{ProofPort, ReplicatorPort, StorePort};
use bytecave_messages::proof::{ProofError, ProofSnapshot};
use bytecave_messages::rate::HostRates;
use bytecave_messages::replicator::{ReplicatorSnapshot, ShardReplication};
use bytecave_messages::store::{StoreError, StoreSnapshot};
use bytecave_messages::swarm::{PeerInfo, SwarmSnapshot};
use prometheus_client::registry::Registry;

use crate::access::AccessRules;
use crate::metrics::Metrics;
use crate::options::{HttpOptions, HttpSettings, SetLogLevel};
use crate::problem::{Code, Problem};

/// How long a client is told to wait while the node starts.
const RECOVERING_WAIT: Duration = Duration::from_secs(1);

/// How long a client is told to wait for memory: uploads come and go.
const UPLOADS_WAIT: Duration = Duration::from_secs(1);

/// Shared by the actor and all workers.
pub(crate) struct Shared {
    pub(crate) settings: HttpSettings,
    pub(crate) identity: Identity,
    /// Signs receipts.
    pub(crate) signer: Arc<NodeIdentity>,
    pub(crate) access: AccessRules,
    pub(crate) limiter: Option<HostRates>,
    pub(crate) uploads: ByteBudget,
    pub(crate) budget: Budget,
    pub(crate) budgets: Vec<Budget>,
    /// Metrics that other actors keep.
    pub(crate) registries: Vec<Arc<Registry>>,
    pub(crate) metrics: Metrics,
    pub(crate) set_log_level: SetLogLevel,
    pub(crate) request_ids: RequestIds,
    phase: AtomicU8,
    store: OnceLock<StorePort>,
    replicator: OnceLock<ReplicatorPort>,
    proof: OnceLock<ProofPort>,
    /// A port call found the store gone.
    store_gone: AtomicBool,
    view: RwLock<Option<Arc<StoreView>>>,
    network: RwLock<Option<Arc<SwarmSnapshot>>>,
    copies: RwLock<Option<Arc<ReplicatorSnapshot>>>,
    proofs: RwLock<Option<Arc<ProofSnapshot>>>,
    parts: RwLock<BTreeMap<ActorName, PartState>>,
}

/// Who the node is.
pub(crate) struct Identity {
    pub(crate) node_id: String,
    pub(crate) peer_id: String,
    pub(crate) public_key: String,
    pub(crate) owner_address: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) started: Instant,
}

/// The store at one moment, and which shards it owns in a form that can be asked.
#[derive(Debug)]
pub(crate) struct StoreView {
    pub(crate) snapshot: Arc<StoreSnapshot>,
    owned: Option<ShardSet>,
}

/// Peers that keep a shard, as far as they told this node.
#[derive(Debug, Default)]
pub(crate) struct Keepers {
    pub(crate) peers: Vec<PeerId>,
    /// Whether one of them is live and takes blobs.
    pub(crate) within_reach: bool,
}

/// What is known of the copies of `shard`.
pub(crate) fn shard_copies(
    copies: &ReplicatorSnapshot,
    shard: ShardId,
) -> Option<&ShardReplication> {
    let at = copies
        .shards
        .binary_search_by_key(&shard, |known| known.shard)
        .ok()?;
    copies.shards.get(at)
}

/// Where the node is between start and stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Starting = 0,
    Open = 1,
    Closing = 2,
}

/// Ids for requests that bring none: unique within a run, and no two runs share a sequence.
pub(crate) struct RequestIds {
    run: u64,
    next: AtomicU64,
}

impl Shared {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let settings = options.settings.clone();
        let access = AccessRules::new(&settings, options.api_token.clone());
        let limiter = if access.is_loopback() {
            None
        } else {
            HostRates::new(settings.rate_limit_per_second, settings.rate_limit_burst)
        };
        Self {
            identity: Identity {
                node_id: options.node_id.clone(),
                peer_id: options.identity.peer_id().to_string(),
                public_key: options.identity.public_key().to_string(),
                owner_address: options.owner_address.clone(),
                version: options.version,
                started: Instant::now(),
            },
            signer: Arc::clone(&options.identity),
            access,
            limiter,
            uploads: ByteBudget::new(settings.max_upload_in_flight_bytes),
            budget: options.budget.clone(),
            budgets: options.budgets.clone(),
            metrics: Metrics::new(),
            set_log_level: Arc::clone(&options.set_log_level),
            request_ids: RequestIds::new(),
            phase: AtomicU8::new(Phase::Starting as u8),
            store: OnceLock::new(),
            replicator: OnceLock::new(),
            proof: OnceLock::new(),
            network: RwLock::new(None),
            copies: RwLock::new(None),
            proofs: RwLock::new(None),
            registries: options.registries.clone(),
            store_gone: AtomicBool::new(false),
            view: RwLock::new(None),
            parts: RwLock::new(BTreeMap::new()),
            settings,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Open,
            _ => Phase::Closing,
        }
    }

    pub(crate) fn open(&self, ports: OpenRoutes) {
        let set = self.store.set(ports.store).is_ok()
            && self.replicator.set(ports.replicator).is_ok()
            && self.proof.set(ports.proof).is_ok();
        if !set {
            tracing::warn!("the routes are open already");
        }
        // A node on its way down does not come back.
        let _ = self.phase.compare_exchange(
            Phase::Starting as u8,
            Phase::Open as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    pub(crate) fn close(&self) {
        self.phase.store(Phase::Closing as u8, Ordering::Release);
    }

    /// The way to the blobs.
    pub(crate) fn store(&self) -> Result<&StorePort, Problem> {
        self.store.get().ok_or_else(recovering)
    }

    /// The way to blobs that peers have.
    pub(crate) fn replicator(&self) -> Result<&ReplicatorPort, Problem> {
        self.replicator.get().ok_or_else(recovering)
    }

    /// The way to proofs and audits.
    pub(crate) fn proof(&self) -> Result<&ProofPort, Problem> {
        self.proof.get().ok_or_else(recovering)
    }

    /// The problem that a port's error is, remembering that a store which is gone is gone.
    pub(crate) fn refused(&self, error: StoreError) -> Problem {
        if error == StoreError::Unavailable {
            self.store_gone.store(true, Ordering::Release);
        }
        error.into()
    }

    /// The same of the prover, which has the bytes from the store.
    pub(crate) fn unproven(&self, error: ProofError) -> Problem {
        match error {
            ProofError::Store(error) => self.refused(error),
            other => other.into(),
        }
    }

    pub(crate) fn store_is_gone(&self) -> bool {
        self.store_gone.load(Ordering::Acquire)
    }

    /// A part of the memory for bodies on their way in.
    pub(crate) fn take_upload_memory(&self, bytes: u64) -> Result<HeldMemory, Problem> {
        self.uploads.try_take(bytes).ok_or_else(|| {
            self.metrics.upload_refused();
            let total = self.uploads.total_bytes();
            Problem::new(
                Code::UploadsFull,
                format!("uploads in flight take all of {total} bytes (http.max_upload_in_flight)"),
            )
            .retry_after(UPLOADS_WAIT)
        })
    }

    pub(crate) fn set_snapshot(&self, snapshot: Arc<StoreSnapshot>) {
        let owned = ShardSet::from_ranges(snapshot.shard_count, &snapshot.owned).ok();
        let view = Arc::new(StoreView { snapshot, owned });
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    /// The latest of the store.
    pub(crate) fn view(&self) -> Option<Arc<StoreView>> {
        self.view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same for routes that cannot answer without it.
    pub(crate) fn view_or_recovering(&self) -> Result<Arc<StoreView>, Problem> {
        self.view().ok_or_else(recovering)
    }

    pub(crate) fn set_network(&self, snapshot: Arc<SwarmSnapshot>) {
        *self.network.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// The latest of the network; none while networking is off.
    pub(crate) fn network(&self) -> Option<Arc<SwarmSnapshot>> {
        self.network
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether networking is switched off, so that there will never be a peer.
    pub(crate) fn network_is_off(&self) -> bool {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        matches!(
            parts.get(&ActorName::Swarm),
            Some(PartState::Disabled { .. })
        )
    }

    /// The peers that say they keep `shard`, and whether one of them can be expected to take a blob.
    pub(crate) fn keepers(&self, shard: ShardId) -> Keepers {
        let (Some(network), Some(view)) = (self.network(), self.view()) else {
            return Keepers::default();
        };
        let count = view.snapshot.shard_count;
        let keeps = |info: &PeerInfo| info.keeps(shard, count) == Some(true);
        let mut keepers = Keepers::default();
        for peer in &network.peers {
            let Some(info) = peer.info.as_ref().filter(|info| keeps(info)) else {
                continue;
            };
            keepers.within_reach |= peer.live && info.accepting != Some(false);
            keepers.peers.push(peer.peer_id);
        }
        keepers
    }

    pub(crate) fn set_copies(&self, snapshot: Arc<ReplicatorSnapshot>) {
        *self.copies.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// The latest of the copies; none until the replicator has looked.
    pub(crate) fn copies(&self) -> Option<Arc<ReplicatorSnapshot>> {
        self.copies
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_proofs(&self, snapshot: Arc<ProofSnapshot>) {
        *self.proofs.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// The latest of audits and the scrub; none until the prover has said so.
    pub(crate) fn proofs(&self) -> Option<Arc<ProofSnapshot>> {
        self.proofs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_part(&self, part: PartChanged) {
        self.parts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part.actor, part.state);
    }

    pub(crate) fn parts(&self) -> BTreeMap<ActorName, PartState> {
        self.parts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl StoreView {
    /// The shard of `cid` when it is known to be another node's.
    pub(crate) fn foreign_shard(&self, cid: &BlobCid) -> Option<ShardId> {
        let shard = self.snapshot.shard_count.shard_of(&cid.digest());
        let owned = self.owned.as_ref()?;
        (!owned.contains(shard)).then_some(shard)
    }
}

impl RequestIds {
    fn new() -> Self {
        use std::hash::BuildHasher;
        Self {
            run: std::hash::RandomState::new().hash_one(0_u8),
            next: AtomicU64::new(0),
        }
    }

    /// 16 hex digits.
    pub(crate) fn next(&self) -> String {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor permutes all 64-bit numbers, so ids of one run never meet.
        let mixed = next.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.run;
        format!("{mixed:016x}")
    }
}

/// A 503: the node is not up yet.
pub(crate) fn recovering() -> Problem {
    Problem::new(
        Code::Recovering,
        "the node is opening its store: ask again in a moment, or watch /live and /ready",
    )
    .retry_after(RECOVERING_WAIT)
}
