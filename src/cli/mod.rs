//! Everything that a person types.
//!
//! Three kinds of commands live here. Those that speak HTTP to a running node (`store`, `get`, `ls`, `rm`,
//! `pin`, `block`, `stat`, `status`, `peers`, `replication`, `shards show|plan|apply`, `proof make`, `audits`, `scrub`, `keys rotate`, `gc`, `log-level`); those that open the data
//! directory themselves and are refused while a node runs (`init`, `verify`, `shards drop`); and those that
//! need neither (`cid`, `proof verify`, `config`, `completions`). `doctor` and `keys show` look at whatever is there.
//!
//! Results go to standard output, everything else to standard error. A command ends in one of the
//! codes of [`exit::Exit`]. No actor is known here: `run` hands the settings to the node and waits.

mod admin;
mod audits;
mod blobs;
mod block;
mod cid;
mod client;
mod config;
mod context;
mod doctor;
mod error;
mod exit;
mod get;
mod init;
mod keys;
mod moves;
mod network;
mod offline;
mod output;
mod peers;
mod proof;
mod receipts;
mod replication;
mod scrub;
mod shards;
mod status;
mod store;
mod target;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use bytecave_config::Flag;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use context::Context;
use error::CliError;
use exit::Exit;

const EXAMPLES: &str = "\
Examples:
  bytecave                                 run a node with data in ./data
  bytecave store photo.jpg                 store a file in the running node
  bytecave get bafkrei… -o photo.jpg       get it back, checked against its CID
  tar c dir | bytecave store -             store what another program writes
  bytecave --url http://10.0.0.5:5001 --token-file token ls
  bytecave status && echo healthy";

/// A storage node that anyone can run.
#[derive(Debug, Parser)]
#[command(
    name = "bytecave",
    version,
    about,
    after_help = "Without a command, `run`. All about a command: bytecave COMMAND --help",
    after_long_help = format!("{EXAMPLES}\n\n{}", Exit::help()),
    max_term_width = 100,
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Settings file, instead of bytecave.toml and config/local.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory (setting `node.data_dir`)
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The node to speak to; by default the one of the settings on this machine
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with the node's API token; by default keys/api-token of the data directory
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// JSON instead of text; one object per line where there are several
    #[arg(long, global = true)]
    json: bool,
    /// Say more: requests made, for `run` the log level (-v debug, -vv trace)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (the default)
    Run(RunArgs),
    /// Make the data directory and its keys, print who the node is
    Init(init::InitArgs),
    /// Store files in the running node
    Store(store::StoreArgs),
    /// Get a blob from the running node, checked against its CID
    Get(get::GetArgs),
    /// List stored blobs
    Ls(blobs::LsArgs),
    /// Delete blobs
    Rm(blobs::RmArgs),
    /// Protect blobs from deletion, or stop protecting them
    Pin(blobs::PinArgs),
    /// Refuse blobs for good: neither keep nor give them
    Block(block::BlockArgs),
    /// Stop refusing blobs
    Unblock(block::UnblockArgs),
    /// Show what is known of a blob
    Stat(blobs::StatArgs),
    /// Compute the CID of files, without a node
    Cid(cid::CidArgs),
    /// Say how the running node is
    #[command(long_about = status::LONG_ABOUT)]
    Status,
    /// List the peers of the running node, and whether others can reach it
    Peers(peers::PeersArgs),
    /// Say where copies are wanting, and why
    Replication(replication::ReplicationArgs),
    /// Show that a node holds a blob, and check who shows it
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// List what the running node found when it asked others for proof
    Audits(audits::AuditsArgs),
    /// Let the running node read everything that it keeps again
    Scrub(scrub::ScrubArgs),
    /// Show the node's shards, or give shards up
    #[command(subcommand)]
    Shards(shards::ShardsCommand),
    /// Show and check the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show, rotate and export the node's keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Check every stored byte; needs the node stopped
    Verify(verify::VerifyArgs),
    /// Give the space of deleted blobs back now
    Gc,
    /// Change the log level of the running node
    LogLevel(admin::LogLevelArgs),
    /// Look for what keeps a node from working, and name the remedy
    Doctor,
    /// Print completions for a shell
    #[command(after_help = "Example: bytecave completions bash > /etc/bash_completion.d/bytecave")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Settings that are often given by hand.
#[derive(Debug, Default, Args)]
struct RunArgs {
    /// Address to listen on (setting `http.host`)
    #[arg(long, value_name = "IP")]
    host: Option<String>,
    /// Port to listen on (setting `http.port`)
    #[arg(long)]
    port: Option<String>,
}

impl RunArgs {
    fn flags(&self) -> Vec<Flag> {
        let flag = |name: &str, key: &str, value: &Option<String>| {
            value.clone().map(|value| Flag {
                name: name.to_owned(),
                key: key.to_owned(),
                value,
            })
        };
        [
            flag("--host", "http.host", &self.host),
            flag("--port", "http.port", &self.port),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version come here too, with code 0.
            let _ = answer.print();
            return u8::try_from(answer.exit_code()).map_or(Exit::Usage.into(), ExitCode::from);
        }
    };
    let context = Context::new(cli.globals);
    let ended = match cli.command.unwrap_or(Command::Run(RunArgs::default())) {
        Command::Run(args) => match context.load_to_run(args.flags()) {
            Ok(loaded) => return crate::node::run(loaded),
            Err(error) => Err(error),
        },
        command => dispatch(&context, command),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) if error.is_closed_pipe() => Exit::Done.into(),
        Err(error) => {
            context.out.error(&error);
            error.exit().into()
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Result<Exit, CliError> {
    let done = |()| Exit::Done;
    match command {
        // Taken care of by the caller, since it ends with the node's own code.
        Command::Run(_) => Ok(Exit::Done),
        Command::Init(args) => init::run(context, &args).map(done),
        Command::Store(args) => store::run(context, &args).map(done),
        Command::Get(args) => get::run(context, &args).map(done),
        Command::Ls(args) => blobs::list(context, &args).map(done),
        Command::Rm(args) => blobs::remove(context, &args).map(done),
        Command::Pin(args) => blobs::pin(context, &args).map(done),
        Command::Block(args) => block::block(context, &args).map(done),
        Command::Unblock(args) => block::unblock(context, &args).map(done),
        Command::Stat(args) => blobs::stat(context, &args).map(done),
        Command::Cid(args) => cid::run(context, &args).map(done),
        Command::Status => status::run(context),
        Command::Peers(args) => peers::run(context, &args).map(done),
        Command::Replication(args) => replication::run(context, &args).map(done),
        Command::Proof(command) => proof::run(context, &command),
        Command::Audits(args) => audits::run(context, &args).map(done),
        Command::Scrub(args) => scrub::run(context, &args).map(done),
        Command::Shards(command) => shards::run(context, &command).map(done),
        Command::Config(command) => config::run(context, &command).map(done),
        Command::Keys(command) => keys::run(context, &command).map(done),
        Command::Verify(args) => verify::run(context, &args),
        Command::Gc => admin::collect_garbage(context).map(done),
        Command::LogLevel(args) => admin::log_level(context, &args).map(done),
        Command::Doctor => doctor::run(context),
        Command::Completions { shell } => completions(shell).map(done),
    }
}

fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bytecave", &mut script);
    std::io::stdout()
        .lock()
        .write_all(&script)
        .map_err(CliError::Stdout)
}

#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod tests;
