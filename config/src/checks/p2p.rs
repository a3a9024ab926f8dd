//! What the settings of the network must have to do with each other.
//!
//! A conflict stops the start: one of the two settings cannot do what it says. What works, but hardly as it
//! was meant, is only remarked.

use crate::load::Provenance;
use crate::network::{ListenAddress, PeerAddress};
use crate::problem::Problem;
use crate::sections::{Config, P2p};
use crate::words::{P2pStoreAccess, ReplicateAccess};

/// Two settings and why they cannot both hold.
struct Conflict(&'static str, &'static str, String);

impl Conflict {
    fn new(first: &'static str, second: &'static str, reason: impl Into<String>) -> Self {
        Self(first, second, reason.into())
    }
}

/// All conflicts.
pub(super) fn conflicts(config: &Config, provenance: &Provenance) -> Vec<Problem> {
    let p2p = &config.p2p;
    let mut found = certificate(p2p);
    found.extend(listening(p2p));
    found.extend(peers(p2p));
    found.extend(replicas(config));
    if p2p.relay_server && !p2p.enable_relay {
        found.push(Conflict::new(
            "p2p.relay_server",
            "p2p.enable_relay",
            "a relay for others needs circuits; switch them on, or the relay off",
        ));
    }
    let wildcards = p2p
        .external_addresses
        .iter()
        .filter(|address| address.is_wildcard())
        .map(|address| Problem::Senseless {
            setting: provenance.setting("p2p.external_addresses"),
            reason: format!("nobody can dial {address}; name the address that others see"),
        });
    found
        .into_iter()
        .map(|Conflict(first, second, reason)| Problem::Conflict {
            first: provenance.setting(first),
            second: provenance.setting(second),
            reason,
        })
        .chain(wildcards)
        .collect()
}

/// What can be meant and seldom is.
pub(super) fn doubtful(p2p: &P2p, provenance: &Provenance) -> Vec<String> {
    let doubt = |first: &str, second: &str, reason: &str| {
        let (first, second) = (provenance.setting(first), provenance.setting(second));
        format!("{first} beside {second}: {reason}")
    };
    let mut found = Vec::new();
    if !p2p.relay_peers.is_empty() && !p2p.enable_relay {
        found.push(doubt(
            "p2p.relay_peers",
            "p2p.enable_relay",
            "the relays are joined through and their storage links used, but nobody reaches this node through them",
        ));
    }
    let twice = p2p.announce_interval.as_duration().saturating_mul(2);
    if p2p.member_timeout.as_duration() < twice {
        found.push(doubt(
            "p2p.member_timeout",
            "p2p.announce_interval",
            "one lost announcement makes a live peer look dead; two announcements should fit into the time",
        ));
    }
    if p2p.tls_certificate_file.is_some()
        && !p2p
            .listen_addresses
            .iter()
            .any(ListenAddress::needs_certificate)
    {
        found.push(doubt(
            "p2p.tls_certificate_file",
            "p2p.listen_addresses",
            "the certificate is not used, since no listen address ends in /tls/ws",
        ));
    }
    if p2p.store_access != P2pStoreAccess::Signed && !p2p.allowed_apps.is_empty() {
        found.push(doubt(
            "p2p.allowed_apps",
            "p2p.store_access",
            "the list is looked at only with \"signed\"",
        ));
    }
    let other = p2p
        .replicate_access
        .is_some_and(|access| access != ReplicateAccess::Allowlist);
    if other && !p2p.replicate_allowlist.is_empty() {
        found.push(doubt(
            "p2p.replicate_allowlist",
            "p2p.replicate_access",
            "the list is looked at only with \"allowlist\"",
        ));
    }
    found
}

fn certificate(p2p: &P2p) -> Vec<Conflict> {
    let (certificate, key) = ("p2p.tls_certificate_file", "p2p.tls_key_file");
    let missing = match (&p2p.tls_certificate_file, &p2p.tls_key_file) {
        (Some(_), None) => Some("a certificate is of no use without its private key; name both"),
        (None, Some(_)) => Some("a private key is of no use without its certificate; name both"),
        _ => None,
    };
    let mut found: Vec<Conflict> = missing
        .map(|reason| Conflict::new(certificate, key, reason))
        .into_iter()
        .collect();
    if p2p.tls_certificate_file.is_none()
        && let Some(address) = p2p
            .listen_addresses
            .iter()
            .find(|address| address.needs_certificate())
    {
        found.push(Conflict::new(
            "p2p.listen_addresses",
            certificate,
            format!("{address} needs a certificate; name its file, or leave the address out"),
        ));
    }
    found
}

fn listening(p2p: &P2p) -> Option<Conflict> {
    let quic = p2p
        .listen_addresses
        .iter()
        .find(|address| address.names("quic-v1"))?;
    (!p2p.enable_quic).then(|| {
        Conflict::new(
            "p2p.listen_addresses",
            "p2p.enable_quic",
            format!("{quic} cannot be listened on; switch QUIC on, or leave the address out"),
        )
    })
}

/// Whoever is to be dialled must be let in.
fn peers(p2p: &P2p) -> Vec<Conflict> {
    let (allow, block) = ("p2p.allow_peers", "p2p.block_peers");
    let mut found = Vec::new();
    let both = p2p
        .allow_peers
        .iter()
        .find(|peer| p2p.block_peers.contains(peer));
    if let Some(peer) = both {
        found.push(Conflict::new(
            allow,
            block,
            format!("{peer} cannot be both allowed and blocked; take it out of one of them"),
        ));
    }
    let lists = [
        ("p2p.relay_peers", &p2p.relay_peers),
        ("p2p.bootstrap_peers", &p2p.bootstrap_peers),
    ];
    for (setting, addresses) in lists {
        let mut ids = addresses.iter().flat_map(PeerAddress::peers);
        let blocked = ids
            .clone()
            .find(|id| p2p.block_peers.iter().any(|peer| peer.as_str() == *id));
        if let Some(id) = blocked {
            found.push(Conflict::new(
                setting,
                block,
                format!("{id} is blocked and cannot be joined; take it out of one of them"),
            ));
        }
        let left_out = ids.find(|id| {
            !p2p.allow_peers.is_empty() && !p2p.allow_peers.iter().any(|peer| peer.as_str() == *id)
        });
        if let Some(id) = left_out {
            found.push(Conflict::new(
                setting,
                allow,
                format!("{id} is not among the allowed peers; add it, or empty the list to allow every peer"),
            ));
        }
    }
    found
}

fn replicas(config: &Config) -> Vec<Conflict> {
    let p2p = &config.p2p;
    let (access, list) = ("p2p.replicate_access", "p2p.replicate_allowlist");
    let mut found = Vec::new();
    match p2p.replicate_access {
        Some(ReplicateAccess::Allowlist) if p2p.replicate_allowlist.is_empty() => {
            found.push(Conflict::new(
                access,
                list,
                "nobody is on the list, so no replica would be taken; name the peers",
            ));
        }
        // Whoever writes a list believes that it keeps others out.
        None if !p2p.replicate_allowlist.is_empty() => found.push(Conflict::new(
            list,
            access,
            "the list is looked at only with replicate_access = \"allowlist\"; set that, or leave the list out",
        )),
        Some(ReplicateAccess::Registered) if config.registry.contract_address.is_none() => {
            found.push(Conflict::new(
                access,
                "registry.contract_address",
                "without a registry nobody is registered, so no replica would be taken; name the contract, or choose \"open\" or \"allowlist\"",
            ));
        }
        _ => {}
    }
    let kept_out = p2p.replicate_allowlist.iter().find(|peer| {
        p2p.block_peers.contains(peer)
            || !(p2p.allow_peers.is_empty() || p2p.allow_peers.contains(peer))
    });
    if let Some(peer) = kept_out {
        let other = if p2p.block_peers.contains(peer) {
            "p2p.block_peers"
        } else {
            "p2p.allow_peers"
        };
        found.push(Conflict::new(
            list,
            other,
            format!("{peer} may send replicas but not connect; settle it one way"),
        ));
    }
    found
}
