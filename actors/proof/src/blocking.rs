//! Work on files, which takes longer than a thread of the runtime may be held up.

use tokio::task::JoinError;

/// Runs `work` on a thread that may be held up.
#[expect(
    clippy::disallowed_methods,
    reason = "at most one for each of the three files, and one more while the node stops"
)]
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}
