//! Metrics of the latest snapshots: how the store, the copies and the proofs are.

use std::fmt::Error;

use bytecave_messages::proof::{Outcome, ProofSnapshot};
use bytecave_messages::replicator::ReplicatorSnapshot;
use bytecave_messages::store::{StoreCondition, StoreSnapshot};

use super::Out;

/// Of the blobs.
pub(super) fn store(out: &mut Out<'_>, snapshot: &StoreSnapshot) -> Result<(), Error> {
    let writable = snapshot.condition == StoreCondition::Writable;
    for (name, help, value) in [
        ("bytecave_store_blobs", "Blobs stored.", snapshot.blobs),
        (
            "bytecave_store_content_bytes",
            "Bytes of content stored.",
            snapshot.bytes,
        ),
        (
            "bytecave_store_sealed_bytes",
            "Encrypted bytes of stored blobs, which the quota counts.",
            snapshot.sealed_bytes,
        ),
        (
            "bytecave_store_dead_bytes",
            "Encrypted bytes of deleted blobs whose space is not free yet.",
            snapshot.dead_bytes,
        ),
        (
            "bytecave_store_retired_blobs",
            "Blobs that were let go and stand on disk until replication.hold is over.",
            snapshot.shards.iter().map(|shard| shard.retired).sum(),
        ),
        (
            "bytecave_store_reserved_bytes",
            "Encrypted bytes reserved by uploads in flight.",
            snapshot.reserved_bytes,
        ),
        (
            "bytecave_store_quota_bytes",
            "The storage limit.",
            snapshot.quota_bytes,
        ),
        (
            "bytecave_store_disk_free_bytes",
            "Free bytes of the disk.",
            snapshot.disk_free_bytes,
        ),
        (
            "bytecave_store_disk_reserve_bytes",
            "Free bytes of the disk that blobs leave alone.",
            snapshot.disk_reserve_bytes,
        ),
        (
            "bytecave_store_quarantined_blobs",
            "Blobs whose bytes were found damaged.",
            snapshot.quarantined,
        ),
        (
            "bytecave_store_writable",
            "Whether the store takes blobs.",
            u64::from(writable),
        ),
    ] {
        out.gauge(name, help, value)?;
    }
    for (name, value) in &snapshot.gauges {
        out.gauge(
            &format!("bytecave_store_{name}"),
            "Of the storage engine.",
            *value,
        )?;
    }
    Ok(())
}

/// Of the copies.
pub(super) fn replicator(out: &mut Out<'_>, copies: &ReplicatorSnapshot) -> Result<(), Error> {
    let wanting = copies.shards.iter().filter(|shard| shard.missing > 0);
    for (name, help, value) in [
        (
            "bytecave_replicator_factor",
            "Copies that each blob shall have.",
            u64::from(copies.factor),
        ),
        (
            "bytecave_replicator_outbox_blobs",
            "Blobs that wait to be copied to others for the first time.",
            copies.outbox,
        ),
        (
            "bytecave_replicator_repairs_waiting",
            "Blobs that are to be fetched from other holders.",
            copies.repairs_waiting,
        ),
        (
            "bytecave_replicator_repairs_running",
            "Blobs being fetched from other holders.",
            copies.repairs_running,
        ),
        (
            "bytecave_replicator_shards",
            "Shards that this node keeps or has blobs of.",
            copies.shards.len() as u64,
        ),
        (
            "bytecave_replicator_shards_missing_copies",
            "Of these shards, those with fewer copies than there shall be.",
            wanting.count() as u64,
        ),
        (
            "bytecave_replicator_peers_blocked",
            "Peers of which nothing is asked for a time, for their conduct.",
            copies.peers.iter().filter(|peer| peer.blocked).count() as u64,
        ),
    ] {
        out.gauge(name, help, value)?;
    }
    for (name, value) in &copies.counters {
        out.counter(
            &format!("bytecave_replicator_{name}"),
            "Of the replicator, since the start.",
            *value,
        )?;
    }
    Ok(())
}

/// Of audits and the scrub.
pub(super) fn proof(out: &mut Out<'_>, proofs: &ProofSnapshot) -> Result<(), Error> {
    let scrub = &proofs.scrub;
    let last = |outcome| {
        let peers = proofs.peers.iter();
        peers.filter(|peer| peer.last_outcome == outcome).count() as u64
    };
    for (name, help, value) in [
        (
            "bytecave_proof_scrub_running",
            "Whether everything here is being read again.",
            u64::from(scrub.running),
        ),
        (
            "bytecave_proof_scrub_blobs",
            "Blobs read in the present or last scrub.",
            scrub.blobs,
        ),
        (
            "bytecave_proof_scrub_position_bytes",
            "Content bytes read in the present or last scrub.",
            scrub.bytes,
        ),
        (
            "bytecave_proof_scrub_total_bytes",
            "Content bytes here in all, as the scrub counts them.",
            scrub.total_bytes,
        ),
        (
            "bytecave_proof_scrub_damaged_blobs",
            "Blobs found damaged in the present or last scrub.",
            scrub.damaged,
        ),
        (
            "bytecave_proof_peers",
            "Peers that were audited and are remembered.",
            proofs.peers.len() as u64,
        ),
        (
            "bytecave_proof_peers_failed",
            "Of these, those that failed their last audit.",
            last(Outcome::Failed),
        ),
    ] {
        out.gauge(name, help, value)?;
    }
    for (name, help, milliseconds) in [
        (
            "bytecave_proof_scrub_start_time_seconds",
            "When the present or last scrub began, seconds since 1970.",
            scrub.started_at,
        ),
        (
            "bytecave_proof_scrub_finish_time_seconds",
            "When the last whole scrub ended, seconds since 1970.",
            scrub.finished_at,
        ),
    ] {
        if let Some(milliseconds) = milliseconds {
            out.gauge(name, help, milliseconds / 1000)?;
        }
    }
    for (name, value) in &proofs.counters {
        out.counter(
            &format!("bytecave_proof_{name}"),
            "Of the prover, since the start.",
            *value,
        )?;
    }
    Ok(())
}
