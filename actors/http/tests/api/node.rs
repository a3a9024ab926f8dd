//! An `HttpActor` with everything around it that it needs, and a store that is not one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use bytecave_config::StoreAccess;
use bytecave_core::NodeIdentity;
use bytecave_http::{BindError, HttpActor, HttpOptions, HttpSettings};
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::http::OpenRoutes;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState};
use bytecave_messages::ports::{ProofPort, ReplicatorPort, StorePort};
use bytecave_messages::replicator::{ReplicatorChanged, ReplicatorSnapshot};
use bytecave_messages::store::StoreChanged;
use bytecave_messages::swarm::{SwarmChanged, SwarmSnapshot};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::client::{Answer, Request};
use crate::fake_proof::{FakeProver, ProofFake};
use crate::fake_replicator::{FakeReplicator, ReplicatorFake};
use crate::fake_store::{FakeActor, FakeStore};

pub(crate) const TOKEN: &str = "7d2a40c1f6";

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) actor: Addr<HttpActor>,
    pub(crate) store: FakeStore,
    pub(crate) replicator: FakeReplicator,
    pub(crate) prover: FakeProver,
    pub(crate) store_budget: Budget,
    pub(crate) replicator_budget: Budget,
    pub(crate) proof_budget: Budget,
    pub(crate) http_budget: Budget,
    pub(crate) deaths: mpsc::Receiver<ActorName>,
    pub(crate) levels: Arc<Mutex<Vec<String>>>,
    fake: Addr<FakeActor>,
    fake_replicator: Addr<ReplicatorFake>,
    fake_prover: Addr<ProofFake>,
}

pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        store_access: StoreAccess::Auto,
        allowed_hosts: Vec::new(),
        cors_origins: Vec::new(),
        trusted_proxies: Vec::new(),
        max_blob_bytes: 64 * 1024 * 1024,
        header_timeout: Duration::from_secs(10),
        body_idle_timeout: Duration::from_secs(10),
        min_upload_bytes_per_second: 0,
        max_connections: 256,
        max_upload_in_flight_bytes: 64 * 1024 * 1024,
        rate_limit_per_second: 200,
        rate_limit_burst: 400,
        workers: Some(2),
        replication_factor: 3,
        place_timeout: Duration::from_secs(30),
    }
}

/// What a test may choose besides the settings.
pub(crate) struct Setup {
    pub(crate) settings: HttpSettings,
    pub(crate) store_mailbox: usize,
    pub(crate) http_mailbox: usize,
    pub(crate) stop_timeout: Duration,
    pub(crate) registries: Vec<Arc<Registry>>,
}

impl Node {
    /// A node whose store is not open yet.
    pub(crate) fn starting(change: impl FnOnce(&mut Setup)) -> Result<Self, BindError> {
        let mut setup = Setup {
            settings: settings(),
            store_mailbox: 64,
            http_mailbox: 64,
            stop_timeout: Duration::from_secs(5),
            registries: Vec::new(),
        };
        change(&mut setup);
        let (store, fake) = FakeStore::start();
        let (replicator, fake_replicator) = FakeReplicator::start();
        let (prover, fake_prover) = FakeProver::start();
        let proof_budget = Budget::new(ActorName::Proof, 16);
        let replicator_budget = Budget::new(ActorName::Replicator, 16);
        let store_budget = Budget::new(ActorName::Store, setup.store_mailbox);
        let http_budget = Budget::new(ActorName::Http, setup.http_mailbox);
        let (sender, deaths) = mpsc::channel(6);
        let levels = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&levels);
        let http = HttpActor::listen(HttpOptions {
            settings: setup.settings,
            node_id: "node-test".to_owned(),
            identity: Arc::new(NodeIdentity::from_seed([7; 32]).unwrap()),
            owner_address: None,
            version: "0.0.0-test",
            api_token: Zeroizing::new(TOKEN.to_owned()),
            budget: http_budget.clone(),
            budgets: vec![store_budget.clone(), http_budget.clone()],
            registries: setup.registries,
            set_log_level: Arc::new(move |level| {
                if level == "nonsense" {
                    return Err("\"nonsense\" is no level".to_owned());
                }
                kept.lock().unwrap().push(level.to_owned());
                Ok(())
            }),
            stop_timeout: setup.stop_timeout,
            watch: DeathWatch::new(ActorName::Http, sender),
        })?;
        let address = http.bound();
        Ok(Self {
            address,
            actor: http.start(),
            store,
            replicator,
            prover,
            store_budget,
            replicator_budget,
            proof_budget,
            http_budget,
            deaths,
            levels,
            fake,
            fake_replicator,
            fake_prover,
        })
    }

    /// A node that is up, with other settings than usual.
    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let node = Self::starting(change).unwrap();
        node.open().await;
        node
    }

    /// A node that is up.
    pub(crate) async fn up() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn open(&self) {
        self.tell_part(ActorName::Store, PartState::Ready).await;
        self.tell_snapshot().await;
        let store = StorePort::new(&self.fake, self.store_budget.clone());
        let budget = self.replicator_budget.clone();
        let replicator = ReplicatorPort::new(&self.fake_replicator, budget);
        let proof = ProofPort::new(&self.fake_prover, self.proof_budget.clone());
        let routes = OpenRoutes {
            store,
            replicator,
            proof,
        };
        self.actor.send(routes).await.unwrap();
    }

    pub(crate) async fn tell_snapshot(&self) {
        let snapshot = Arc::new(self.store.snapshot());
        self.actor.send(StoreChanged(snapshot)).await.unwrap();
    }

    pub(crate) async fn tell_part(&self, actor: ActorName, state: PartState) {
        self.actor.send(PartChanged { actor, state }).await.unwrap();
    }

    pub(crate) async fn tell_network(&self, network: SwarmSnapshot) {
        let network = Arc::new(network);
        self.actor.send(SwarmChanged(network)).await.unwrap();
    }

    pub(crate) async fn tell_copies(&self, copies: ReplicatorSnapshot) {
        let copies = Arc::new(copies);
        self.actor.send(ReplicatorChanged(copies)).await.unwrap();
    }

    /// Networking is switched off.
    pub(crate) async fn without_network(&self) {
        let reason = "P2P_ENABLED is false".to_owned();
        self.tell_part(ActorName::Swarm, PartState::Disabled { reason })
            .await;
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        request.send(self.address).await
    }

    pub(crate) async fn get(&self, path: impl Into<String>) -> Answer {
        self.send(Request::get(path)).await
    }

    /// The value of a metric, by the start of its line.
    pub(crate) async fn metric(&self, start: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find(|line| line.starts_with(start))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// Waits until `condition` holds; fails when it does not for too long.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
