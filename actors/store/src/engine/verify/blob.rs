//! Reading one blob to check it, and handing its rows on as they are read.

use rocksdb::DB;

use super::super::check::{Fault, LargeCheck, check_small};
use super::super::keyring::SealedName;
use super::super::layout::{chunk_key, name_key, prefix};
use super::super::record::{BlobMeta, Layout};
use super::super::rocks::chunk_read_options;
use super::super::scan::Handle;

/// Takes the sealed rows of a blob that is being checked, in order of their keys.
pub(super) type Sink<'s> = dyn FnMut(&[u8], &[u8]) -> Result<(), rocksdb::Error> + 's;

/// A family to read blobs from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) db: &'a DB,
    pub(super) family: &'a Handle<'a>,
}

impl Source<'_> {
    /// Checks the blob that `meta` describes, and hands its sealed rows to `sink` as it goes: what
    /// was handed over is only to be kept if the check succeeds.
    pub(super) fn check(
        &self,
        name: &SealedName,
        meta: &BlobMeta,
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        match meta.layout {
            Layout::Small => {
                let key = name_key(prefix::DATA, name);
                let sealed = self.read(&key)?.ok_or(Fault::Missing)?;
                sink(&key, &sealed).map_err(Fault::Sink)?;
                check_small(meta, sealed)
            }
            Layout::Large => self.check_large(meta, sink),
        }
    }

    fn check_large(&self, meta: &BlobMeta, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let mut check = LargeCheck::new(meta)?;
        while let Some(number) = check.wants() {
            let key = chunk_key(meta.blob_id, number);
            let sealed = self.read(&key)?.ok_or_else(|| check.missing())?;
            sink(&key, &sealed).map_err(Fault::Sink)?;
            check.take(meta, sealed)?;
        }
        check.finish(meta)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.db
            .get_cf_opt(self.family, key, &chunk_read_options())
            .map_err(Fault::Unreadable)
    }
}
