//! What the commit thread may be asked to do.

use super::Group;
use super::blobs::{Advance, Delete, Pin, Quarantine, Settle, SmallPut};
use super::blocks::SetBlock;
use super::large::{Abandon, Begin, Finish};
use super::nonces::{ForgetNonces, UseNonce};
use super::retired::{Expire, Restore, Retire};
use super::tombstones::{Forget, Renew};
use super::upkeep::{Collected, Freed, InstallKeyring, Reseal};

/// One operation of the commit thread.
#[derive(Debug)]
pub(crate) enum Op {
    /// Keep a small blob.
    Put(Box<SmallPut>),
    /// Delete a blob.
    Delete(Delete),
    /// Protect a blob, or stop.
    Pin(Pin),
    /// Refuse a blob for good, or stop.
    Block(SetBlock),
    /// A blob is needed no longer.
    Retire(Retire),
    /// It is needed after all.
    Restore(Restore),
    /// Delete for good what was retired long enough ago.
    Expire(Expire),
    /// Flag a blob whose bytes are damaged.
    Quarantine(Quarantine),
    /// Remove outbox entries.
    Advance(Advance),
    /// A large blob is about to be ingested.
    Begin(Box<Begin>),
    /// A large blob was ingested.
    Finish(Box<Finish>),
    /// A large blob will not be finished.
    Abandon(Abandon),
    /// The file of a deleted large blob is gone.
    Freed(Freed),
    /// A family was collected.
    Collected(Collected),
    /// Forget old tombstones.
    Forget(Forget),
    /// Keep tombstones as if they were new.
    Renew(Renew),
    /// Use up a nonce.
    UseNonce(UseNonce),
    /// Forget expired nonces.
    ForgetNonces(ForgetNonces),
    /// Seal metadata under the current key.
    Reseal(Box<Reseal>),
    /// Use another keyring.
    InstallKeyring(Box<InstallKeyring>),
    /// Sync what was written up to here, whatever the durability is.
    Settle(Box<Settle>),
    /// Write something, to learn whether the database takes writes.
    Probe,
}

impl Op {
    /// Whether somebody waits until it is as durable as configured. The others lose nothing when they
    /// are lost in a crash: what they did is done again.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Put(_)
            | Self::Delete(_)
            | Self::Pin(_)
            | Self::Block(_)
            | Self::Retire(_)
            | Self::Restore(_)
            | Self::Begin(_)
            | Self::Finish(_)
            | Self::Abandon(_)
            | Self::InstallKeyring(_)
            | Self::UseNonce(_)
            | Self::Settle(_)
            | Self::Probe => true,
            Self::Quarantine(_)
            | Self::Advance(_)
            | Self::Expire(_)
            | Self::Freed(_)
            | Self::Collected(_)
            | Self::Forget(_)
            | Self::Renew(_)
            | Self::ForgetNonces(_)
            | Self::Reseal(_) => false,
        }
    }

    /// About how many bytes it adds to the batch.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.sealed.len(),
            _ => 0,
        }
    }
}

impl Group<'_> {
    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Put(put) => self.put(*put),
            Op::Delete(delete) => self.delete(delete),
            Op::Pin(pin) => self.pin(pin),
            Op::Block(block) => self.set_block(block),
            Op::Retire(retire) => self.retire(retire),
            Op::Restore(restore) => self.restore(restore),
            Op::Expire(expire) => self.expire(expire),
            Op::Quarantine(quarantine) => self.quarantine(quarantine),
            Op::Advance(advance) => self.advance(advance),
            Op::Begin(begin) => self.begin(*begin),
            Op::Finish(finish) => self.finish(*finish),
            Op::Abandon(abandon) => self.abandon(abandon),
            Op::Freed(freed) => self.free(freed),
            Op::Collected(collected) => self.collected(collected),
            Op::Forget(forget) => self.forget(forget),
            Op::Renew(renew) => self.renew(renew),
            Op::UseNonce(nonce) => self.use_nonce(nonce),
            Op::ForgetNonces(forget) => self.forget_nonces(forget),
            Op::Reseal(reseal) => self.reseal(*reseal),
            Op::InstallKeyring(install) => self.install_keyring(*install),
            Op::Settle(settle) => self.settle(*settle),
            Op::Probe => self.probe(),
        }
    }
}
