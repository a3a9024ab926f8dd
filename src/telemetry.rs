//! The log: to the terminal, and to a rotated file unless switched off.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytecave_config::{Log, LogFilter, LogFormat, LogRotation};
use bytecave_http::SetLogLevel;
use thiserror::Error;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// Parts that say at level info how many workers start and stop, and what the node says in words of its own.
const QUIET: &str = "actix_server=warn,libp2p_swarm=warn,libp2p_identify=warn,libp2p_kad=error";

/// Keeps the log going; what is still buffered is written when it is dropped.
pub(crate) struct Telemetry {
    _file: Option<WorkerGuard>,
    /// Changes the level of the running node.
    pub(crate) set_level: SetLogLevel,
    /// Why there is no log file, when one was wanted.
    pub(crate) file_problem: Option<String>,
}

/// Why the log cannot be set up.
#[derive(Debug, Error)]
pub(crate) enum TelemetryError {
    /// The filter does not parse.
    #[error("log.level \"{filter}\" is not a log filter: {source}")]
    Filter { filter: String, source: ParseError },
    /// Somebody installed a log before.
    #[error("the log is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets the log up for the life of the process.
pub(crate) fn start(settings: &Log) -> Result<Telemetry, TelemetryError> {
    let filter = parse_filter(&settings.level).map_err(|source| TelemetryError::Filter {
        filter: settings.level.as_str().to_owned(),
        source,
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = layer(settings.format, io::stderr().is_terminal(), io::stderr);
    let (file, guard, file_problem) = match settings
        .file
        .path(in_container())
        .map(|path| open(path, settings))
    {
        None => (None, None, None),
        Some(Ok((writer, guard))) => (
            Some(layer(settings.format, false, writer)),
            Some(guard),
            None,
        ),
        Some(Err(problem)) => (None, None, Some(problem)),
    };
    tracing_subscriber::registry()
        .with(terminal.and_then(file).with_filter(filter))
        .try_init()?;
    let set_level: SetLogLevel = Arc::new(move |text: &str| {
        let refused = |error: &dyn std::fmt::Display| error.to_string();
        let checked: LogFilter = text
            .parse()
            .map_err(|error: bytecave_config::Mismatch| refused(&error))?;
        let filter = parse_filter(&checked).map_err(|error| refused(&error))?;
        handle.reload(filter).map_err(|error| refused(&error))
    });
    Ok(Telemetry {
        _file: guard,
        set_level,
        file_problem,
    })
}

/// What `level` asks for. The HTTP server's own remarks on its workers are left out unless it names them.
fn parse_filter(level: &LogFilter) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET},{}", level.as_str()))
}

fn layer<W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(ansi)
            .with_target(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(writer).boxed(),
    }
}

type FileLog = (tracing_appender::non_blocking::NonBlocking, WorkerGuard);

/// Opens the log file. With rotation the dated file is the real one and `path` a link to the newest,
/// so that `tail -F` on the published name always shows what is new.
fn open(path: &Path, settings: &Log) -> Result<FileLog, String> {
    let problem =
        |cause: &dyn std::fmt::Display| format!("cannot write {}: {cause}", path.display());
    // The link points to the file by this path, from within the same directory.
    let path = std::path::absolute(path).map_err(|error| problem(&error))?;
    let name = path
        .file_name()
        .ok_or_else(|| problem(&"it has no file name"))?
        .to_string_lossy()
        .into_owned();
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let rotation = match settings.rotation {
        LogRotation::Never => Rotation::NEVER,
        LogRotation::Hourly => Rotation::HOURLY,
        LogRotation::Daily => Rotation::DAILY,
    };
    let mut builder = RollingFileAppender::builder()
        .filename_prefix(&name)
        .max_log_files(settings.max_files.into());
    if settings.rotation != LogRotation::Never {
        builder = builder.latest_symlink(&name);
    }
    let appender = builder
        .rotation(rotation)
        .build(&directory)
        .map_err(|error| problem(&error))?;
    Ok(tracing_appender::non_blocking(appender))
}

#[expect(
    clippy::disallowed_methods,
    reason = "no setting, but a mark that the container's runtime leaves"
)]
/// Docker and podman leave these marks; the image sets the variable itself.
fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
}
