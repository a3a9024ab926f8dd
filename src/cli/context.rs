//! What every command starts from: the global options, and what follows from them.

use std::future::Future;

use bytecave_config::{Flag, Inputs, Loaded};
use tokio::runtime::Builder;

use super::Globals;
use super::client::{Client, Patience};
use super::error::CliError;
use super::exit::Exit;
use super::output::{Output, note};
use super::target::{Token, own_url, parse_url};

/// The global options.
#[derive(Debug)]
pub(crate) struct Context {
    globals: Globals,
    /// How to speak.
    pub(crate) out: Output,
}

impl Context {
    /// Takes the options of the command line.
    pub(crate) fn new(globals: Globals) -> Self {
        let out = Output {
            json: globals.json,
            verbose: globals.verbose,
        };
        Self { globals, out }
    }

    /// The settings.
    pub(crate) fn load(&self) -> Result<Loaded, CliError> {
        self.load_with(Vec::new())
    }

    /// The settings for a node: here `-v` and `--json` are about the log.
    pub(crate) fn load_to_run(&self, mut flags: Vec<Flag>) -> Result<Loaded, CliError> {
        let mut set = |name: &str, key: &str, value: &str| {
            flags.push(Flag {
                name: name.to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
            });
        };
        match self.globals.verbose {
            0 => {}
            1 => set("-v", "log.level", "debug"),
            _ => set("-vv", "log.level", "trace"),
        }
        if self.globals.json {
            set("--json", "log.format", "json");
        }
        self.load_with(flags)
    }

    fn load_with(&self, mut flags: Vec<Flag>) -> Result<Loaded, CliError> {
        if let Some(dir) = &self.globals.data_dir {
            let value = dir.to_string_lossy().into_owned();
            flags.push(Flag {
                name: "--data-dir".to_owned(),
                key: "node.data_dir".to_owned(),
                value,
            });
        }
        let inputs =
            Inputs::from_process(self.globals.config.clone(), flags).map_err(CliError::Start)?;
        Ok(bytecave_config::load(&inputs)?)
    }

    /// The data directory of `--data-dir`, if given.
    pub(crate) fn data_dir_option(&self) -> Option<&std::path::Path> {
        self.globals.data_dir.as_deref()
    }

    /// The node to speak to, with the token.
    pub(crate) fn client(&self, patience: Patience) -> Result<Client, CliError> {
        let loaded = self.load();
        let (base, loaded) = if let Some(url) = &self.globals.url {
            // Settings of this machine's node may be wrong without harm to another's.
            (parse_url(url)?, loaded.ok())
        } else {
            let loaded = loaded?;
            (own_url(&loaded.config.http)?, Some(loaded))
        };
        let token = match (&self.globals.token_file, &loaded) {
            (Some(path), _) => Token::read(path).map_err(|source| CliError::Token {
                path: path.clone(),
                source,
            })?,
            (None, Some(loaded)) => Token::of_own_node(&loaded.config, &base),
            (None, None) => Token::NotSent,
        };
        Client::new(base, token, patience, self.out)
    }

    /// The node to speak to, for routes that are open to all.
    pub(crate) fn anonymous_client(&self, patience: Patience) -> Result<Client, CliError> {
        let base = match &self.globals.url {
            Some(url) => parse_url(url)?,
            None => own_url(&self.load()?.config.http)?,
        };
        Client::new(base, Token::NotSent, patience, self.out)
    }

    /// Does something to each of several things: goes on after a failure, unless the next must fail too.
    pub(crate) async fn each<T>(
        &self,
        things: &[T],
        name: impl Fn(&T) -> String,
        mut work: impl AsyncFnMut(&T) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let [_, _, ..] = things else {
            for thing in things {
                work(thing).await?;
            }
            return Ok(());
        };
        let mut failed = 0;
        let mut first: Option<Exit> = None;
        for thing in things {
            if let Err(error) = work(thing).await {
                if error.ends_everything() {
                    return Err(error);
                }
                if !self.out.json {
                    note(format_args!("{}:", name(thing)));
                }
                self.out.error(&error);
                failed += 1;
                first.get_or_insert(error.exit());
            }
        }
        match first {
            Some(exit) => Err(CliError::Several {
                failed,
                all: things.len(),
                exit,
            }),
            None => Ok(()),
        }
    }
}

/// Runs a command's exchange with a node; Ctrl-C ends it as an error, so that it can clean up.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Start)?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        }
    });
    // A read of standard input that nobody feeds would hold up an orderly end.
    runtime.shutdown_background();
    result
}
