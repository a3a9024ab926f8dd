//! What the settings of copies on other nodes must have to do with each other and with the network's.

use crate::load::Provenance;
use crate::problem::Problem;
use crate::sections::Config;

/// All conflicts.
pub(super) fn conflicts(config: &Config, provenance: &Provenance) -> Vec<Problem> {
    let conflict = |first: &str, second: &str, reason: &str| Problem::Conflict {
        first: provenance.setting(first),
        second: provenance.setting(second),
        reason: reason.to_owned(),
    };
    let replication = &config.replication;
    let mut found = Vec::new();
    if replication.goodbye_timeout > replication.holder_timeout {
        found.push(conflict(
            "replication.goodbye_timeout",
            "replication.holder_timeout",
            "a holder that said goodbye would be waited for longer than one that fell silent; it must not be the longer of the two",
        ));
    }
    found
}

/// What can be meant and seldom is.
pub(super) fn doubtful(config: &Config, provenance: &Provenance) -> Vec<String> {
    let doubt = |first: &str, second: &str, reason: &str| {
        let (first, second) = (provenance.setting(first), provenance.setting(second));
        format!("{first} beside {second}: {reason}")
    };
    let (replication, p2p) = (&config.replication, &config.p2p);
    let mut found = Vec::new();
    if replication.holder_timeout < p2p.member_timeout {
        found.push(doubt(
            "replication.holder_timeout",
            "p2p.member_timeout",
            "peers that still count as live are replaced as holders, so a short silence moves copies about",
        ));
    }
    if replication.keyed_interval < replication.reconcile_interval {
        found.push(doubt(
            "replication.keyed_interval",
            "replication.reconcile_interval",
            "the comparison that reads the metadata of all blobs comes more often than the one that costs next to nothing",
        ));
    }
    found
}
