//! Who may send replicas and who may store: pure decisions.

use std::sync::Arc;

use bytecave_config::{P2p, P2pStoreAccess, PeerName, ReplicateAccess};
use bytecave_core::{Digest, StoreAuthorization, VerifiedStore};
use bytecave_messages::swarm::{Admission, Refusal};

/// How long a store authorization holds, and how far it may lie ahead; milliseconds. As the
/// network's clients expect.
pub(crate) const AUTHORIZATION_WINDOW_MS: u64 = 5 * 60 * 1000;
/// How much of a stranger's app id is quoted.
const QUOTED_CHARS: usize = 80;

const NO_REGISTRY: &str =
    "this node takes replicas from registered peers only, and no registry is read by this version";
const STORE_OFF: &str = "this node takes no blobs from clients of the network (p2p.store_access is off): store over its HTTP API, or at another node";
const UNSIGNED: &str = "this node stores with a signed store authorization only (p2p.store_access is signed): sign one with an Ethereum account";

/// Who may send replicas.
pub(crate) fn admission(settings: &P2p, has_registry: bool) -> Admission {
    let unset = if has_registry {
        ReplicateAccess::Registered
    } else {
        ReplicateAccess::Open
    };
    match settings.replicate_access.unwrap_or(unset) {
        ReplicateAccess::Open => Admission::Everyone,
        ReplicateAccess::Registered => Admission::Nobody(NO_REGISTRY),
        ReplicateAccess::Allowlist => {
            let listed = settings.replicate_allowlist.iter();
            Admission::Only(Arc::new(listed.filter_map(PeerName::peer_id).collect()))
        }
    }
}

/// Tells the operator, with a warning if it is nobody.
pub(crate) fn log(admission: &Admission) {
    match admission {
        Admission::Everyone => tracing::info!("replicas are taken from every peer"),
        Admission::Only(peers) => {
            tracing::info!(peers = peers.len(), "replicas are taken from listed peers");
        }
        Admission::Nobody(why) => tracing::warn!("no replicas are taken: {why}"),
    }
}

/// Who may store.
#[derive(Debug, Clone)]
pub(crate) struct StorePolicy {
    access: P2pStoreAccess,
    /// Applications; any if empty.
    apps: Arc<[String]>,
}

/// What is left to do before bytes are stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Permission<'a> {
    /// Nothing.
    Granted,
    /// The authorization is to be verified against the bytes, and its nonce used up.
    If(&'a StoreAuthorization),
}

impl StorePolicy {
    pub(crate) fn new(settings: &P2p) -> Self {
        Self {
            access: settings.store_access,
            apps: settings
                .allowed_apps
                .iter()
                .map(|app| app.as_str().to_owned())
                .collect(),
        }
    }

    /// Decides before the bytes are looked at. `app_id` is what the request states beside the
    /// authorization, where its form has that.
    pub(crate) fn decide<'a>(
        &self,
        authorization: Option<&'a StoreAuthorization>,
        app_id: Option<&str>,
    ) -> Result<Permission<'a>, Refusal> {
        match self.access {
            P2pStoreAccess::Open => Ok(Permission::Granted),
            P2pStoreAccess::Off => Err(not_authorized(STORE_OFF)),
            P2pStoreAccess::Signed => {
                let authorization = authorization.ok_or_else(|| not_authorized(UNSIGNED))?;
                self.check_app(&authorization.app_id, app_id)?;
                Ok(Permission::If(authorization))
            }
        }
    }

    fn check_app(&self, signed: &str, stated: Option<&str>) -> Result<(), Refusal> {
        if let Some(stated) = stated.filter(|stated| *stated != signed) {
            return Err(not_authorized(format!(
                "the request is of app \"{}\" and its authorization is for app \"{}\"",
                shortened(stated),
                shortened(signed)
            )));
        }
        if self.apps.is_empty() || self.apps.iter().any(|app| app == signed) {
            return Ok(());
        }
        Err(not_authorized(format!(
            "app \"{}\" is not one of those that this node stores for (p2p.allowed_apps)",
            shortened(signed)
        )))
    }
}

/// Whether an authorization permits storing what it states now.
pub(crate) fn verify(
    authorization: &StoreAuthorization,
    now_ms: u64,
) -> Result<VerifiedStore, Refusal> {
    let verified = authorization.verify(now_ms, AUTHORIZATION_WINDOW_MS);
    verified.map_err(|error| not_authorized(error.to_string()))
}

/// Whether a verified authorization is for these bytes.
pub(crate) fn covers(verified: &VerifiedStore, content: &Digest) -> Result<(), Refusal> {
    let covers = verified.covers(content);
    covers.map_err(|error| not_authorized(error.to_string()))
}

/// A nonce came a second time.
pub(crate) fn nonce_used() -> Refusal {
    not_authorized("its nonce was used before: sign again with a new one")
}

fn not_authorized(why: impl Into<String>) -> Refusal {
    Refusal::NotAuthorized(why.into())
}

fn shortened(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::{peer, settings};

    fn authorization(app_id: &str) -> StoreAuthorization {
        StoreAuthorization {
            sender: String::new(),
            signature: String::new(),
            timestamp_ms: 0,
            nonce: String::new(),
            content_hash: String::new(),
            app_id: app_id.to_owned(),
        }
    }

    #[test]
    fn unset_is_everyone_unless_there_is_a_registry() {
        let settings = settings();
        assert_eq!(admission(&settings, false), Admission::Everyone);
        assert_eq!(admission(&settings, true), Admission::Nobody(NO_REGISTRY));
    }

    #[test]
    fn what_is_set_counts_whether_there_is_a_registry_or_not() {
        for has_registry in [false, true] {
            let mut settings = settings();
            settings.replicate_access = Some(ReplicateAccess::Open);
            assert_eq!(admission(&settings, has_registry), Admission::Everyone);
            settings.replicate_access = Some(ReplicateAccess::Registered);
            let refused = admission(&settings, has_registry).admits(&peer(1));
            assert_eq!(
                refused.unwrap_err().to_string(),
                "not admitted: this node takes replicas from registered peers only, and no registry is read by this version"
            );
            settings.replicate_access = Some(ReplicateAccess::Allowlist);
            settings.replicate_allowlist = vec![peer(1).to_string().parse().unwrap()];
            let admission = admission(&settings, has_registry);
            assert_eq!(admission.admits(&peer(1)), Ok(()));
            assert!(admission.admits(&peer(2)).is_err());
        }
    }

    #[test]
    fn who_may_store() {
        let mut settings = settings();
        let permitted = authorization("photos");
        let decide = |settings: &P2p, given: Option<&StoreAuthorization>, app| {
            StorePolicy::new(settings)
                .decide(given, app)
                .map(|permission| permission == Permission::Granted)
                .map_err(|refusal| refusal.to_string())
        };
        let refused = |settings: &P2p, given, app| decide(settings, given, app).unwrap_err();

        assert!(refused(&settings, None, None).starts_with(
            "not authorized: this node stores with a signed store authorization only"
        ));
        assert_eq!(decide(&settings, Some(&permitted), None), Ok(false));
        assert_eq!(
            decide(&settings, Some(&permitted), Some("photos")),
            Ok(false)
        );
        assert_eq!(
            refused(&settings, Some(&permitted), Some("films")),
            "not authorized: the request is of app \"films\" and its authorization is for app \"photos\""
        );
        settings.allowed_apps = vec!["films".parse().unwrap()];
        assert_eq!(
            refused(&settings, Some(&permitted), None),
            "not authorized: app \"photos\" is not one of those that this node stores for (p2p.allowed_apps)"
        );
        assert_eq!(
            decide(&settings, Some(&authorization("films")), Some("films")),
            Ok(false)
        );
        settings.store_access = P2pStoreAccess::Open;
        assert_eq!(decide(&settings, None, None), Ok(true));
        settings.store_access = P2pStoreAccess::Off;
        assert!(refused(&settings, Some(&permitted), None).contains("p2p.store_access is off"));
    }

    #[test]
    fn a_long_app_id_is_not_repeated_whole() {
        let settings = settings();
        let endless = "x".repeat(1 << 20);
        let decided = StorePolicy::new(&settings)
            .decide(Some(&authorization(&endless)), Some("photos"))
            .unwrap_err();
        assert!(decided.to_string().len() < 300);
    }
}
