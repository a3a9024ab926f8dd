//! What commands need that open the database themselves: the directory's lock, which keeps a running
//! node out, and the options that the node itself would open it with.

use bytecave_config::Config;
use bytecave_store::engine::EngineOptions;
use bytecave_store::offline::{OfflineError, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use super::context::Context;
use super::error::CliError;
use super::output::short_size;
use crate::data_dir::DataDir;

/// A stopped node's database, not opened yet.
pub(crate) struct Offline {
    /// How to open it.
    pub(crate) options: EngineOptions,
    /// Held until the end.
    _lock: DataDir,
}

impl Offline {
    /// Takes the lock. Nothing is made where no node has ever run.
    pub(crate) fn lock(config: &Config) -> Result<Self, CliError> {
        let directory = &config.node.data_dir;
        let database = directory.join("db");
        if !database.join("CURRENT").exists() {
            return Err(OfflineError::NoDatabase { path: database }.into());
        }
        let data_dir = DataDir::open(directory)?;
        let unlock = data_dir.unlock_secret(config)?;
        let options = EngineOptions::from_config(
            &config.store,
            directory,
            unlock,
            config.max_blob_size().bytes(),
        );
        Ok(Self {
            options: options.map_err(CliError::Shards)?,
            _lock: data_dir,
        })
    }
}

/// Shows how far the work is, one step for each shard.
pub(crate) struct Watcher(ProgressBar);

impl Watcher {
    /// A bar, where a person watches.
    pub(crate) fn new(context: &Context) -> Self {
        let bar = context.out.steps();
        if let Ok(style) =
            ProgressStyle::with_template("{wide_bar} {pos}/{len} shards  {msg}  {eta}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Hears of progress.
    pub(crate) fn hear(&self, progress: &Progress<'_>) {
        self.0.set_length(progress.families);
        self.0.set_position(progress.families_done);
        let bytes = short_size(progress.bytes);
        self.0
            .set_message(format!("{} blobs, {bytes}", progress.blobs));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
