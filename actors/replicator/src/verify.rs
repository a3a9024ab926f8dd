//! Hashing what came, without holding up the thread that other tasks share.

use bytecave_core::Digest;
use bytes::Bytes;
use ring::digest::{Context, SHA256};

/// Bytes between two looks at what else there is to do: about half a millisecond of hashing.
const STEP_BYTES: usize = 1 << 20;

/// SHA-256 of `bytes`.
pub(crate) async fn digest(bytes: &Bytes) -> Digest {
    let mut context = Context::new(&SHA256);
    for step in bytes.chunks(STEP_BYTES) {
        context.update(step);
        tokio::task::yield_now().await;
    }
    Digest::finish(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_make_no_difference() {
        for len in [0, 1, STEP_BYTES, STEP_BYTES + 1, 3 * STEP_BYTES] {
            let bytes = Bytes::from(vec![7; len]);
            assert_eq!(digest(&bytes).await, Digest::of(&bytes), "{len}");
        }
    }
}
