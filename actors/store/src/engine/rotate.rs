//! Rotating keys while the node works.
//!
//! A new key-encryption key is added and made current; then every record under an older one is
//! sealed again, page by page, by the commit thread, so that no change is lost. Where it stands is
//! kept in the database: cut short, it goes on at the next start. When nothing is left under the
//! older keys they are retired.

use std::sync::Arc;

use bytecave_messages::store::{RotationReport, StoreError};

use super::Engine;
use super::codec::{CodecError, Reader, Writer};
use super::commit::Op;
use super::commit::upkeep::{InstallKeyring, Reseal};
use super::failpoint::failpoint;
use super::keyring::{Keyring, Purpose};
use super::layout::{DEFAULT_FAMILY, ROTATION_KEY, prefix};
use super::record::{self, Record};
use super::state::{Family, Inner, failed, lock, stopped};
use super::upkeep::{Claimed, Job};

/// Records that one operation seals again: about a millisecond of the commit thread.
const PAGE: usize = 200;

/// Where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// The key that everything is sealed under.
    pub(crate) key_id: u32,
    /// The shard that comes next; those before it are done.
    pub(crate) next_shard: u16,
    /// Records sealed again so far.
    pub(crate) resealed: u64,
}

impl Record for Rotation {
    const PURPOSE: Purpose = Purpose::Node;
    const FORMAT: u16 = 1;

    fn capacity(&self) -> usize {
        4 + 2 + 8
    }

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.key_id);
        writer.u16(self.next_shard);
        writer.u64(self.resealed);
    }

    fn read(reader: &mut Reader<'_>, _format: u16) -> Result<Self, CodecError> {
        Ok(Self {
            key_id: reader.u32()?,
            next_shard: reader.u16()?,
            resealed: reader.u64()?,
        })
    }
}

impl Engine {
    /// Adds a key-encryption key and seals every record under it.
    pub async fn rotate_keys(&self) -> Result<RotationReport, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .movers
            .run(move || {
                inner.upkeep.claim_blocking(Job::Rotate);
                let _claimed = Claimed(Arc::clone(&inner), Job::Rotate);
                begin(&inner).and_then(|rotation| go_on(&inner, rotation))
            })
            .await
            .map_err(stopped)?
    }
}

/// Goes on with a rotation that was cut short, if there is one.
pub(crate) fn resume(inner: &Arc<Inner>) {
    let stored = match inner.db.get(ROTATION_KEY) {
        Ok(Some(stored)) => stored,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "whether a key rotation is under way cannot be read");
            return;
        }
    };
    let keyring = inner.keyring();
    let rotation = match record::open::<Rotation>(&keyring, DEFAULT_FAMILY, ROTATION_KEY, &stored) {
        Ok(rotation) => rotation,
        Err(error) => {
            tracing::error!(%error, "a key rotation was under way; rotate again");
            return;
        }
    };
    if !inner.upkeep.claim(Job::Rotate) {
        return;
    }
    let claimed = Claimed(Arc::clone(inner), Job::Rotate);
    inner
        .movers
        .try_submit(move || match go_on(&claimed.0, rotation) {
            Ok(report) => tracing::info!(
                key = report.key_id,
                resealed = report.resealed,
                "a key rotation that was cut short is complete"
            ),
            Err(error) => tracing::warn!(%error, "a key rotation waits for the next start"),
        });
}

fn begin(inner: &Inner) -> Result<Rotation, StoreError> {
    let keyring = inner
        .keyring()
        .rotate()
        .map_err(|error| failed("adding a key", error))?;
    let rotation = Rotation {
        key_id: keyring.current_key(),
        next_shard: 0,
        resealed: 0,
    };
    inner.install(keyring, Some(rotation))?;
    Ok(rotation)
}

fn go_on(inner: &Inner, mut rotation: Rotation) -> Result<RotationReport, StoreError> {
    // What belongs to no shard is little, and done again after a restart.
    reseal(inner, None, prefix::TOMBSTONE, &mut rotation)?;
    reseal(inner, None, prefix::BLOCK, &mut rotation)?;
    reseal(inner, None, prefix::DROP, &mut rotation)?;
    for family in inner.all_families().filter(|family| family.owned) {
        if family.shard.get() < rotation.next_shard {
            continue;
        }
        for kind in [prefix::META, prefix::OUTBOX, super::layout::COUNTERS_KEY[0]] {
            reseal(inner, Some(family), kind, &mut rotation)?;
        }
        rotation.next_shard = family.shard.get() + 1;
    }
    retire(inner)?;
    Ok(RotationReport {
        key_id: rotation.key_id,
        resealed: rotation.resealed,
    })
}

/// Seals all records of one kind in a family (`default` if `None`) again.
fn reseal(
    inner: &Inner,
    family: Option<&Family>,
    kind: u8,
    rotation: &mut Rotation,
) -> Result<(), StoreError> {
    let name = family.map_or(DEFAULT_FAMILY, |family| family.name.as_str());
    let mut from = vec![kind];
    loop {
        if inner.upkeep.is_closed() {
            return Err(StoreError::Unavailable);
        }
        let keys: Vec<Box<[u8]>> = inner
            .rows(name, from, vec![kind + 1])?
            .take(PAGE)
            .map(|row| row.map(|(key, _)| key))
            .collect::<Result<_, _>>()?;
        let Some(last) = keys.last() else {
            return Ok(());
        };
        // The least key behind the last one.
        from = [last, &[0][..]].concat();
        let noted = *rotation;
        let shard = family.map(|family| family.shard);
        let answer = inner.queue.submit(|reply| {
            Op::Reseal(Box::new(Reseal {
                shard,
                keys,
                rotation: noted,
                reply,
            }))
        });
        rotation.resealed += answer
            .blocking_recv()
            .map_err(|_| StoreError::Unavailable)??;
        failpoint!("rotate::between-pages");
    }
}

/// Retires the older keys if nothing is sealed under them any more, and ends the rotation.
fn retire(inner: &Inner) -> Result<(), StoreError> {
    let keyring = inner.keyring();
    let mut retired = (*keyring).clone();
    // Families that are not ours are left as they are, and so is an intent that is under way.
    let foreign = inner.all_families().any(|family| !family.owned);
    let intents = inner
        .rows(
            DEFAULT_FAMILY,
            vec![prefix::INTENT],
            vec![prefix::INTENT + 1],
        )?
        .next()
        .is_some();
    if foreign || intents || !lock(&inner.drops).is_empty() {
        tracing::info!("older keys are kept: some records are still sealed under them");
    } else {
        let older = keyring.key_ids().filter(|id| *id != keyring.current_key());
        for id in older {
            retired = retired
                .retire(id)
                .map_err(|error| failed("retiring a key", error))?;
        }
    }
    inner.install(retired, None)
}

impl Inner {
    fn install(&self, keyring: Keyring, rotation: Option<Rotation>) -> Result<(), StoreError> {
        let answer = self.queue.submit(|reply| {
            Op::InstallKeyring(Box::new(InstallKeyring {
                keyring,
                rotation,
                reply,
            }))
        });
        answer
            .blocking_recv()
            .map_err(|_| StoreError::Unavailable)?
    }
}
