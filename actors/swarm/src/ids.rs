//! Peer ids in the two forms they have here: the node's own, which is an Ed25519 key, and libp2p's,
//! which may be of other keys too. Members are of the first kind only.

use bytecave_core::PeerId;
use libp2p::PeerId as WirePeerId;

/// Length of the binary peer id of an Ed25519 key.
const BINARY_LEN: usize = 38;
/// Where its 32 key bytes begin.
const KEY_AT: usize = 6;

/// The peer id as the libp2p crates want it.
pub(crate) fn to_wire(peer: &PeerId) -> WirePeerId {
    // Both sides keep to the same specification; a test over many keys holds them to it.
    WirePeerId::from_bytes(&peer.to_bytes()).unwrap_or_else(|_| WirePeerId::random())
}

/// The peer id of an Ed25519 key; none of another key, since no member has one.
pub(crate) fn from_wire(peer: &WirePeerId) -> Option<PeerId> {
    let bytes = peer.to_bytes();
    let key: [u8; 32] = bytes.get(KEY_AT..)?.try_into().ok()?;
    let ours = bytecave_core::PublicKey::new(key).peer_id();
    (bytes.len() == BINARY_LEN && ours.to_bytes() == bytes).then_some(ours)
}

#[cfg(test)]
mod tests {
    use bytecave_core::PublicKey;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_forms_name_the_same_peer(key: [u8; 32]) {
            let ours = PublicKey::new(key).peer_id();
            let wire = to_wire(&ours);
            prop_assert_eq!(wire.to_string(), ours.to_string());
            prop_assert_eq!(from_wire(&wire), Some(ours));
        }
    }

    #[test]
    fn other_keys_are_no_members() {
        let hashed = WirePeerId::random();
        // A random id is an identity hash of 32 bytes, which is no Ed25519 key.
        assert_eq!(from_wire(&hashed), None);
    }
}
