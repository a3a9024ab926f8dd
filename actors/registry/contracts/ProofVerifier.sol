// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Checks that somebody has the bytes of a blob, from 32 bytes that the chain knows of it
/// @notice The format, with its test vectors, is in docs/proofs.md of this repository. This contract has no state and no
/// owner: deploy it once and call it from anywhere.
///
/// Of a storage proof it checks possession: the leaves that the challenge asks for, their lengths and their paths to the
/// root that the commitment binds. It does not check the node's Ed25519 signature, which says who answered and nothing
/// about the bytes.
///
/// What the caller has to know by itself, and never take from the prover:
/// - `commitment`, from somebody who had the bytes;
/// - `nonce`, fresh and not foreseeable by the prover (not the hash of a block that the prover may propose);
/// - `cid` and `count`, since the leaves asked for follow from them.
///
/// `size`, `blobRoot`, `leaves` and `paths` are the prover's.
/// @dev A view, since the SHA-256 precompile at address 2 is called directly: the compiler's own `sha256` would copy each
/// input into memory that is never freed.
contract ProofVerifier {
    /// @notice A leaf of the answer, without its path.
    /// @param index its place in the blob, from 0
    /// @param data its bytes: 1024, or fewer where it is the last
    struct Leaf {
        uint64 index;
        bytes data;
    }

    /// @notice Bytes of each leaf but the last.
    uint256 public constant LEAF_SIZE = 1024;

    /// @notice Most leaves that one challenge may ask for.
    uint256 public constant MAX_COUNT = 32;

    /// @dev CIDv1, raw, SHA-256 of 32 bytes: what each binary CID begins with.
    bytes4 private constant CID_HEAD = 0x01551220;
    uint256 private constant CID_LENGTH = 36;

    /// @notice The commitment is zero, as a mapping has it for a blob it does not know: nothing to compare with.
    error Unanchored();
    /// @notice The CID is not 36 bytes that begin with 0x01551220.
    error WrongCid();
    /// @notice Size and root make another commitment.
    error CommitmentMismatch(bytes32 expected, bytes32 actual);
    /// @notice Not exactly one leaf and one path for each leaf asked for, or not 1 to 32 asked for.
    error WrongCount(uint256 expected, uint256 leaves, uint256 paths);
    /// @notice The challenge asks for another leaf at this position.
    error WrongLeafIndex(uint256 position, uint64 expected, uint64 actual);
    /// @notice The leaf at this position has more bytes than such a leaf of this blob.
    error LeafTooLong(uint256 position, uint256 expected, uint256 actual);
    /// @notice The leaf at this position has fewer bytes than such a leaf of this blob.
    error WrongLeafSize(uint256 position, uint256 expected, uint256 actual);
    /// @notice The path of the leaf at this position leads elsewhere, ends early or goes on above the root.
    error PathDoesNotReachRoot(uint256 position);

    /// @notice Returns if the leaves prove possession, and reverts with the reason of the first check that fails if not.
    /// There is no answer that a caller could forget to look at.
    /// @param commitment the 32 bytes known of the blob
    /// @param size bytes of the blob
    /// @param blobRoot root of the blob's tree
    /// @param nonce the challenge's
    /// @param cid binary CID of the blob, 36 bytes
    /// @param count how many leaves the challenge asks for, 1 to 32
    /// @param leaves the answer, in the order of the challenge, repeats included
    /// @param paths of each leaf the siblings, from the leaf upwards
    function verify(
        bytes32 commitment,
        uint64 size,
        bytes32 blobRoot,
        bytes32 nonce,
        bytes calldata cid,
        uint256 count,
        Leaf[] calldata leaves,
        bytes32[][] calldata paths
    ) external view {
        if (commitment == 0) revert Unanchored();
        if (cid.length != CID_LENGTH || bytes4(cid) != CID_HEAD) revert WrongCid();
        bytes32 actual = commitmentOf(size, blobRoot);
        if (actual != commitment) revert CommitmentMismatch(commitment, actual);
        if (count == 0 || count > MAX_COUNT || leaves.length != count || paths.length != count) {
            revert WrongCount(count, leaves.length, paths.length);
        }
        // One kind of check for all leaves before the next, so that a proof with several faults has one name for them.
        for (uint256 i = 0; i < count; ++i) {
            uint64 expected = leafIndex(nonce, cid, uint32(i), size);
            if (leaves[i].index != expected) revert WrongLeafIndex(i, expected, leaves[i].index);
        }
        for (uint256 i = 0; i < count; ++i) {
            uint256 expected = _leafLength(leaves[i].index, size);
            uint256 length = leaves[i].data.length;
            if (length > expected) revert LeafTooLong(i, expected, length);
            if (length < expected) revert WrongLeafSize(i, expected, length);
        }
        uint256 last = leafCount(size) - 1;
        for (uint256 i = 0; i < count; ++i) {
            bytes32 leaf = _hashOfLeaf(leaves[i].data);
            if (!_reaches(blobRoot, leaves[i].index, last, leaf, paths[i])) revert PathDoesNotReachRoot(i);
        }
    }

    /// @notice The commitment to a blob. The size is in it because a path alone does not say how many leaves there are.
    function commitmentOf(uint64 size, bytes32 blobRoot) public pure returns (bytes32) {
        return sha256(abi.encodePacked("bytecave-commitment-v1", size, blobRoot));
    }

    /// @notice How many leaves a blob of this size has; an empty one has one, which is empty.
    function leafCount(uint64 size) public pure returns (uint64) {
        // The same as (size + 1023) / 1024, which would overflow for the largest sizes.
        return size == 0 ? 1 : (size - 1) / uint64(LEAF_SIZE) + 1;
    }

    /// @notice The leaf that a challenge asks for at this position, counted from 0.
    function leafIndex(bytes32 nonce, bytes calldata cid, uint32 position, uint64 size) public pure returns (uint64) {
        bytes32 hash = sha256(abi.encodePacked("bytecave-challenge-v1", nonce, cid, position));
        return uint64(bytes8(hash)) % leafCount(size);
    }

    /// @dev Bytes of a leaf that the blob has.
    function _leafLength(uint256 index, uint256 size) private pure returns (uint256) {
        uint256 rest = size - index * LEAF_SIZE;
        return rest < LEAF_SIZE ? rest : LEAF_SIZE;
    }

    /// @dev RFC 9162, section 2.1.3.2. `index` is at most `last`: it came out of a remainder.
    function _reaches(bytes32 root, uint256 index, uint256 last, bytes32 hash, bytes32[] calldata path)
        private
        view
        returns (bool)
    {
        for (uint256 i = 0; i < path.length; ++i) {
            if (last == 0) return false;
            if (index & 1 == 1 || index == last) {
                hash = _hashOfNode(path[i], hash);
                // Levels at which this node had no neighbour and moved up as it was.
                while (index & 1 == 0 && index != 0) {
                    index >>= 1;
                    last >>= 1;
                }
            } else {
                hash = _hashOfNode(hash, path[i]);
            }
            index >>= 1;
            last >>= 1;
        }
        return last == 0 && hash == root;
    }

    /// @dev SHA-256(0x00 ‖ data), put together in memory that nothing owns yet and that the next hash writes over.
    function _hashOfLeaf(bytes calldata data) private view returns (bytes32) {
        uint256 input;
        assembly ("memory-safe") {
            input := mload(0x40)
            mstore8(input, 0)
            calldatacopy(add(input, 1), data.offset, data.length)
        }
        return _sha256(input, data.length + 1);
    }

    /// @dev SHA-256(0x01 ‖ left ‖ right), in the same place.
    function _hashOfNode(bytes32 left, bytes32 right) private view returns (bytes32) {
        uint256 input;
        assembly ("memory-safe") {
            input := mload(0x40)
            mstore8(input, 1)
            mstore(add(input, 1), left)
            mstore(add(input, 33), right)
        }
        return _sha256(input, 65);
    }

    /// @dev The precompile. Where a chain had none at this address, the call would succeed and return nothing.
    function _sha256(uint256 input, uint256 length) private view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let called := staticcall(gas(), 2, input, length, 0, 32)
            if iszero(and(called, eq(returndatasize(), 32))) { revert(0, 0) }
            hash := mload(0)
        }
    }
}
