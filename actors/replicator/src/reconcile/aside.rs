//! Work that takes longer than a thread of the runtime may be held up: hashing long lists, and files.

use tokio::task::JoinError;

/// From this many digests on, hashing them takes a millisecond or more.
const ASIDE_DIGESTS: usize = 16 * 1024;

/// Hashes so many digests: here when they are few, else on a thread that may be held up.
pub(super) async fn hashing<T: Send + 'static>(
    digests: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if digests < ASIDE_DIGESTS {
        return Ok(work());
    }
    blocking(work).await
}

/// Runs `work` on a thread that may be held up.
#[expect(
    clippy::disallowed_methods,
    reason = "one for the round, one for each peer that is answered, and one for the file"
)]
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}
