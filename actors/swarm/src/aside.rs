//! Work that takes longer than a thread of the runtime may be held up.

use tokio::task::JoinError;

/// From this size on, text is decoded and encoded aside: a millisecond or more.
const ASIDE_BYTES: usize = 256 * 1024;

/// Runs `work` over so many bytes: here when they are few, else on a thread that may be held up.
///
/// # Errors
///
/// `work` panicked.
#[expect(
    clippy::disallowed_methods,
    reason = "each caller holds a place among those served, and memory for its bytes"
)]
pub(crate) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if bytes < ASIDE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
