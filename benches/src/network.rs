//! What a line between two nodes can carry, beside which copies are measured: bytes of blobs that are asked
//! for and sent, one after the other, between two tasks of this process over loopback.
//!
//! - [`Limit::Tcp`]: one TCP connection and nothing else.
//! - [`Limit::Stream`]: what libp2p puts on it, as a node has it: Noise, yamux with the node's settings, and a
//!   stream of its own for each blob. No protocol of ours: a request is as long as one for a blob is at least,
//!   and the answer is its bytes.
//!
//! Neither end reads a disk, hashes or seals. Both ends are in this process, so its CPU time stands beside that
//! of two nodes.

mod stream;
mod tcp;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use bytecave_config::ByteSize;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use libp2p::TransportError;
use thiserror::Error;

use crate::content::{BlobSeed, Pieces};
use crate::measure::Measured;
use crate::process;
use crate::random::f64_of;
use crate::sample::{Sample, ServerUsage};
use crate::size::parse_size;

/// Bytes handed to the line at once, and taken from it at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of a request: a digest, and the number of bytes that are asked for.
const REQUEST_BYTES: usize = 40;
/// Bytes of the blob that goes over the line before the clock starts: the connection is made and known by then.
const WARM_UP_BYTES: u64 = 1 << 20;

/// The command line of `bytecave-bench-network limit`.
#[derive(Args, Clone, Debug)]
pub struct LimitOptions {
    /// Which.
    #[arg(value_enum)]
    pub kind: Limit,
    /// Bytes of a blob.
    #[arg(long, default_value = "1MiB", value_parser = parse_size)]
    pub size: u64,
    /// Bytes of all blobs together; at least one blob is sent.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    pub volume: u64,
    /// Append the line of JSON to this file.
    #[arg(long)]
    pub append: Option<PathBuf>,
}

/// What carries the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Limit {
    /// A TCP connection.
    Tcp,
    /// A stream of libp2p for each blob, on one connection.
    Stream,
}

/// Why a limit could not be taken.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The line failed.
    #[error("the line failed: {0}")]
    Io(#[from] io::Error),
    /// libp2p does not listen or dial on loopback.
    #[error("libp2p does not reach the loopback address: {0}")]
    Transport(#[from] TransportError<io::Error>),
    /// The key for the handshake.
    #[error("the key for the handshake is none: {0}")]
    Key(#[from] libp2p::identity::DecodingError),
    /// The handshake cannot be prepared.
    #[error("the handshake could not be prepared: {0}")]
    Handshake(#[from] libp2p::noise::Error),
    /// The connection ended.
    #[error("the connection ended before all blobs were sent")]
    Ended,
    /// A blob of another length came.
    #[error("{actual} bytes came of a blob of {expected}")]
    Length {
        /// What came.
        actual: u64,
        /// What was asked for.
        expected: u64,
    },
    /// A task died.
    #[error("a task died: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The end that asks for blobs.
trait Asker: Send + 'static {
    /// Asks for `size` bytes and reads all of them.
    fn ask(&mut self, size: u64) -> impl Future<Output = Result<(), NetworkError>> + Send;
}

/// Takes one limit.
pub fn limit(options: &LimitOptions) -> Result<Sample, NetworkError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let blobs = (options.volume / options.size.max(1)).max(1);
    let size = options.size;
    let (name, timed) = match options.kind {
        Limit::Tcp => {
            let asker = runtime.block_on(tcp::connect())?;
            ("tcp", runtime.spawn(time(asker, size, blobs)))
        }
        Limit::Stream => {
            let asker = runtime.block_on(stream::connect())?;
            ("stream", runtime.spawn(time(asker, size, blobs)))
        }
    };
    let (measured, cpu_seconds) = runtime.block_on(timed)??;
    let mut sample = measured.sample(name, "limit", ByteSize::new(size).to_string(), 1);
    sample.server = Some(both_ends(measured, cpu_seconds));
    if let Some(path) = &options.append {
        sample.append_to(path)?;
    }
    Ok(sample)
}

/// Times `blobs` blobs; also the CPU seconds of both ends.
async fn time(
    mut asker: impl Asker,
    size: u64,
    blobs: u64,
) -> Result<(Measured, f64), NetworkError> {
    asker.ask(WARM_UP_BYTES).await?;
    let cpu_before = process::own_cpu_seconds();
    let started = Instant::now();
    for _ in 0..blobs {
        asker.ask(size).await?;
    }
    let measured = Measured {
        operations: blobs,
        bytes: blobs * size,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((measured, process::own_cpu_seconds() - cpu_before))
}

/// The CPU of both ends in the form in which that of servers is given.
fn both_ends(measured: Measured, cpu_seconds: f64) -> ServerUsage {
    let per = |count: u64, unit: f64| cpu_seconds * unit / f64_of(count.max(1));
    let memory = process::usage(std::process::id()).unwrap_or_default();
    ServerUsage {
        cpu_seconds,
        cpu_micros_per_operation: per(measured.operations, 1e6),
        cpu_seconds_per_gigabyte: per(measured.bytes, 1e9),
        rss_bytes: memory.rss_bytes,
        peak_rss_bytes: memory.peak_rss_bytes,
    }
}

/// The request for a blob of this size: what names a blob stands at its front, and is not looked at.
fn request(size: u64) -> [u8; REQUEST_BYTES] {
    let mut request = [7; REQUEST_BYTES];
    if let Some(end) = request.last_chunk_mut() {
        *end = size.to_be_bytes();
    }
    request
}

/// The size that a request asks for.
fn asked(request: &[u8; REQUEST_BYTES]) -> u64 {
    request
        .last_chunk()
        .map_or(0, |size| u64::from_be_bytes(*size))
}

/// What answers are made of: the same bytes over and over, made once for each connection.
fn content() -> Bytes {
    Pieces::whole(BlobSeed::new(0, 0), BUFFER_BYTES)
}

/// The part of `content` that goes out next.
fn next_piece(content: &Bytes, left: u64) -> &[u8] {
    let len = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
    content.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_limit_counts_the_blobs_that_it_sent() {
        for kind in [Limit::Tcp, Limit::Stream] {
            // Not a whole number of buffers, and more than one window of a stream.
            let options = LimitOptions {
                kind,
                size: 700_001,
                volume: 2_200_000,
                append: None,
            };
            let sample = limit(&options).unwrap();
            assert_eq!((sample.operations, sample.bytes), (3, 2_100_003));
            assert!(sample.bytes_per_second > 0.0, "{sample:?}");
        }
    }

    #[test]
    fn one_blob_is_sent_whatever_the_volume() {
        let options = LimitOptions {
            kind: Limit::Stream,
            size: 5,
            volume: 0,
            append: None,
        };
        let sample = limit(&options).unwrap();
        assert_eq!((sample.operations, sample.bytes), (1, 5));
        assert_eq!(sample.subject, "stream");
    }

    #[test]
    fn a_request_says_how_much() {
        for size in [0, 1, 1 << 30, u64::MAX] {
            assert_eq!(asked(&request(size)), size);
        }
    }
}
