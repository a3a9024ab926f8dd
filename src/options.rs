//! What each actor is told of the settings, the keys and the others, in one place.

use std::sync::Arc;
use std::time::Duration;

use bytecave_config::Config;
use bytecave_core::PeerId;
use bytecave_http::{HttpOptions, HttpSettings};
use bytecave_messages::budget::ActorName;
use bytecave_messages::store::STOP_GRACE;
use bytecave_proof::ProofOptions;
use bytecave_replicator::ReplicatorOptions;
use bytecave_swarm::{NetworkMetrics, SwarmOptions};

use crate::data_dir::{DataDir, Keys};
use crate::telemetry::Telemetry;
use crate::wiring::Mailboxes;

/// Directory, in the data directory, of what the node remembers of the network.
const NETWORK_DIR: &str = "p2p";

/// What the HTTP actor is told.
pub(crate) fn http_options(
    config: &Config,
    keys: &Keys,
    mailboxes: &Mailboxes,
    metrics: &NetworkMetrics,
    telemetry: &Telemetry,
) -> HttpOptions {
    HttpOptions {
        settings: HttpSettings::new(&config.http, &config.replication, config.max_blob_size()),
        node_id: node_id(config, &keys.identity.peer_id()),
        identity: Arc::clone(&keys.identity),
        owner_address: owner_address(config),
        version: env!("CARGO_PKG_VERSION"),
        api_token: keys.api_token.clone(),
        budget: mailboxes.http.budget.clone(),
        budgets: mailboxes.budgets(),
        registries: vec![metrics.registry()],
        set_log_level: telemetry.set_level.clone(),
        stop_timeout: requests_deadline(config.node.shutdown_timeout.as_duration()),
        watch: mailboxes.watch(ActorName::Http),
    }
}

/// What the swarm is told.
pub(crate) fn swarm_options(
    config: &Config,
    keys: &Keys,
    mailboxes: &Mailboxes,
    data_dir: &DataDir,
    metrics: NetworkMetrics,
) -> Result<SwarmOptions, bytecave_core::ShardError> {
    Ok(SwarmOptions {
        settings: config.p2p.clone(),
        identity: Arc::clone(&keys.identity),
        node_id: node_id(config, &keys.identity.peer_id()),
        owner_address: owner_address(config),
        version: env!("CARGO_PKG_VERSION"),
        shards: config.store.shard_set()?,
        quota_bytes: config.store.quota().bytes(),
        directory: data_dir.root().join(NETWORK_DIR),
        budget: mailboxes.swarm.budget.clone(),
        events: mailboxes.swarm_events(),
        metrics,
        watch: mailboxes.watch(ActorName::Swarm),
    })
}

/// What the replicator is told.
pub(crate) fn replicator_options(
    config: &Config,
    keys: &Keys,
    mailboxes: &Mailboxes,
    data_dir: &DataDir,
) -> ReplicatorOptions {
    ReplicatorOptions {
        me: keys.identity.peer_id(),
        p2p: config.p2p.clone(),
        replication: config.replication.clone(),
        has_registry: config.registry.contract_address.is_some(),
        state_file: data_dir.root().join(NETWORK_DIR).join("replication.json"),
        store: mailboxes.store_port(),
        swarm: mailboxes.swarm_port(),
        events: mailboxes.replicator_events(),
        watch: mailboxes.watch(ActorName::Replicator),
    }
}

/// What the prover is told.
pub(crate) fn proof_options(
    config: &Config,
    keys: &Keys,
    mailboxes: &Mailboxes,
    data_dir: &DataDir,
) -> ProofOptions {
    ProofOptions {
        identity: Arc::clone(&keys.identity),
        node_id: node_id(config, &keys.identity.peer_id()),
        settings: config.proof.clone(),
        networked: config.p2p.enabled,
        directory: data_dir.root().join(NETWORK_DIR),
        budget: mailboxes.proof.budget.clone(),
        store: mailboxes.store_port(),
        swarm: mailboxes.swarm_port(),
        events: mailboxes.proof_events(),
        watch: mailboxes.watch(ActorName::Proof),
    }
}

/// What the node calls itself.
fn node_id(config: &Config, peer_id: &PeerId) -> String {
    let set = config.node.id.as_ref();
    set.map_or_else(|| default_node_id(peer_id), ToString::to_string)
}

fn owner_address(config: &Config) -> Option<String> {
    let owner = config.registry.owner_address.as_ref();
    owner.map(ToString::to_string)
}

/// Time for requests in flight at a stop: whatever clients still do, the store keeps its share.
fn requests_deadline(whole: Duration) -> Duration {
    whole.saturating_sub(STOP_GRACE).max(whole / 2)
}

/// `node-` and the last eight characters of the peer id.
fn default_node_id(peer_id: &PeerId) -> String {
    let text = peer_id.to_string();
    let tail = text.len().saturating_sub(8);
    format!("node-{}", text.get(tail..).unwrap_or(&text))
}
