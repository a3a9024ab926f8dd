//! Receipts of stored blobs: each is checked as it comes, and kept in a file of its user's, one on a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytecave_core::BlobCid;
use bytecave_core::proof::{Reason, Receipt};

use super::error::CliError;

/// Where receipts go. The file is made with the first of them.
pub(super) struct Receipts {
    path: PathBuf,
    file: Option<File>,
}

impl Receipts {
    /// Refuses a file that exists before anything is stored.
    pub(super) fn new(path: &Path) -> Result<Self, CliError> {
        if path.symlink_metadata().is_ok() {
            return Err(CliError::exists(path, "choose a new name for the receipts"));
        }
        Ok(Self {
            path: path.to_owned(),
            file: None,
        })
    }

    /// Checks the receipt of the blob that `name` became, and keeps it.
    pub(super) fn keep(
        &mut self,
        name: String,
        cid: BlobCid,
        size: u64,
        receipt: Option<Receipt>,
    ) -> Result<(), CliError> {
        let Some(receipt) = receipt else {
            return Err(CliError::NoReceipt { name });
        };
        let other = receipt.cid != cid || receipt.size != size;
        let reason = receipt.verify().reason();
        if let Some(reason) = reason.or_else(|| other.then_some(Reason::WrongCid)) {
            let what = format!("{name} is stored, but the node's receipt");
            return Err(CliError::NotProven { what, reason });
        }
        let mut text =
            serde_json::to_vec(&receipt).map_err(|error| CliError::Stdout(error.into()))?;
        text.push(b'\n');
        let written = self.open()?.write_all(&text);
        written.map_err(CliError::io("write", &self.path))
    }

    fn open(&mut self) -> Result<&mut File, CliError> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                // Never through a link or into a file that somebody else put there meanwhile.
                let made = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&self.path);
                Ok(none.insert(made.map_err(CliError::io("create", &self.path))?))
            }
        }
    }
}
