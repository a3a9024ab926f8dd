//! How each peer did in this node's audits: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytecave_core::PeerId;
use bytecave_messages::proof::{AuditRecord, Outcome, PeerAudits};

/// Peers that are remembered; beyond that the one whose last audit is longest ago is forgotten.
pub(super) const PEERS_MAX: usize = 4096;

/// The tallies.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    peers: BTreeMap<PeerId, PeerAudits>,
    /// As they are told, until one changes.
    told: Option<Arc<[PeerAudits]>>,
}

impl Tallies {
    /// What was written down.
    pub(super) fn restore(kept: Vec<PeerAudits>) -> Self {
        let kept = kept.into_iter().map(|audits| (audits.peer_id, audits));
        Self {
            peers: kept.take(PEERS_MAX).collect(),
            told: None,
        }
    }

    /// One more audit.
    pub(super) fn note(&mut self, record: &AuditRecord) {
        let (peer_id, outcome) = (record.peer_id, record.outcome);
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer_id) {
            let oldest = self.peers.values().min_by_key(|audits| audits.last_at);
            let oldest = oldest.map(|audits| audits.peer_id);
            oldest.and_then(|oldest| self.peers.remove(&oldest));
        }
        let audits = self.peers.entry(peer_id).or_insert(PeerAudits {
            peer_id,
            passed: 0,
            failed: 0,
            other: 0,
            last_at: 0,
            last_outcome: outcome,
        });
        let tally = match outcome {
            Outcome::Passed => &mut audits.passed,
            Outcome::Failed => &mut audits.failed,
            _ => &mut audits.other,
        };
        *tally = tally.saturating_add(1);
        audits.last_at = record.at_ms;
        audits.last_outcome = outcome;
        self.told = None;
    }

    /// All of them, by peer id.
    pub(super) fn all(&mut self) -> Arc<[PeerAudits]> {
        let peers = &self.peers;
        let told = self
            .told
            .get_or_insert_with(|| peers.values().cloned().collect());
        Arc::clone(told)
    }
}
