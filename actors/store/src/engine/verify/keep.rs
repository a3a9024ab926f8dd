//! What is done with whole blobs beside looking at them: nothing, or a copy.

use super::super::check::Fault;
use super::super::keyring::SealedName;
use super::super::record::{BlobMeta, OutboxItem};
use super::OfflineError;
use super::blob::Source;

/// What is done with whole blobs beside looking at them.
pub(super) trait Keep {
    /// A small blob was found whole.
    fn small(
        &mut self,
        family: &str,
        blob: &Row,
        meta: &BlobMeta,
        data: &[u8],
    ) -> Result<(), OfflineError>;

    /// Checks a large blob.
    fn large(
        &mut self,
        source: &Source<'_>,
        family: &str,
        blob: &Row,
        meta: &BlobMeta,
    ) -> Result<Result<(), Fault>, OfflineError>;

    /// An outbox entry was found whole.
    fn outbox(
        &mut self,
        family: &str,
        key: &[u8],
        item: &OutboxItem,
        sealed: &[u8],
    ) -> Result<(), OfflineError>;
}

/// Looks, and keeps nothing.
pub(super) struct JustLook;

impl Keep for JustLook {
    fn small(&mut self, _: &str, _: &Row, _: &BlobMeta, _: &[u8]) -> Result<(), OfflineError> {
        Ok(())
    }

    fn large(
        &mut self,
        source: &Source<'_>,
        _: &str,
        blob: &Row,
        meta: &BlobMeta,
    ) -> Result<Result<(), Fault>, OfflineError> {
        Ok(source.check(&blob.name, meta, &mut |_, _| Ok(())))
    }

    fn outbox(&mut self, _: &str, _: &[u8], _: &OutboxItem, _: &[u8]) -> Result<(), OfflineError> {
        Ok(())
    }
}

/// A metadata row.
pub(super) struct Row {
    pub(super) name: SealedName,
    pub(super) sealed: Vec<u8>,
}
