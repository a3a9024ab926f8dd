//! What the commit thread does for nonces.

use bytecave_messages::budget::{ActorName, Full};
use bytecave_messages::store::StoreError;

use super::{Group, Reply};
use crate::engine::keyring::SealedName;
use crate::engine::layout::{name_key, prefix};
use crate::engine::nonces::row;
use crate::engine::state::failed;

/// How long a caller is told to wait when too many nonces are remembered: they are forgotten over
/// minutes.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_mins(1);

/// Use up this nonce.
#[derive(Debug)]
pub(crate) struct UseNonce {
    pub(crate) name: SealedName,
    pub(crate) expires_ms: u64,
    pub(crate) reply: Reply<bool>,
}

/// Forget these nonces, which have expired. Nothing else removes rows and none is ever changed, so
/// what was expired when it was looked at still is.
#[derive(Debug)]
pub(crate) struct ForgetNonces {
    pub(crate) names: Vec<SealedName>,
    pub(crate) reply: Reply<()>,
}

impl Group<'_> {
    pub(super) fn use_nonce(&mut self, nonce: UseNonce) {
        let UseNonce {
            name,
            expires_ms,
            reply,
        } = nonce;
        let used = self.try_use_nonce(name, expires_ms);
        self.answer(reply, used);
    }

    /// Whether it was unused, this group's changes included.
    fn try_use_nonce(&mut self, name: SealedName, expires_ms: u64) -> Result<bool, StoreError> {
        let inner = self.inner;
        let key = name_key(prefix::NONCE, &name);
        if self.nonces.contains(&name) {
            return Ok(false);
        }
        let known = inner
            .db
            .get_pinned(key)
            .map_err(|error| failed("reading a nonce", error))?;
        if known.is_some() {
            return Ok(false);
        }
        let limit = inner.options.max_nonces;
        if inner.nonces.live() + self.nonces.len() as u64 >= limit {
            tracing::warn!(
                limit,
                "too many authorizations of the last minutes are remembered"
            );
            return Err(StoreError::Full(Full {
                actor: ActorName::Store,
                capacity: usize::try_from(limit).unwrap_or(usize::MAX),
                retry_after: RETRY_AFTER,
            }));
        }
        if let Some(refusal) = inner.refusal() {
            return Err(refusal);
        }
        self.batch.put(key, row(expires_ms));
        self.nonces.insert(name);
        // A restart must not reopen what was authorized once.
        self.must_sync = true;
        self.when_written(move |inner, written| {
            if written.is_ok() {
                inner.nonces.note_used(expires_ms);
            }
        });
        Ok(true)
    }

    pub(super) fn forget_nonces(&mut self, forget: ForgetNonces) {
        let ForgetNonces { names, reply } = forget;
        for name in &names {
            self.batch.delete(name_key(prefix::NONCE, name));
        }
        self.when_written(move |inner, written| {
            if written.is_ok() {
                inner.nonces.note_forgotten(names.len() as u64);
            }
        });
        self.answer(reply, Ok(()));
    }
}
