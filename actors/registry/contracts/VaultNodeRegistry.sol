// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title The nodes of a storage network: who runs them, and where they are reached
/// @notice A reference implementation of the network's registry; docs/registry.md of this repository describes it. A node is
/// named by its Ed25519 key, so that whoever is connected to it can work out its entry: the key is in its peer id.
///
/// One owner has at most one registered node, and one node at most one owner. An owner registers, updates and unregisters
/// its own node and no other: no function takes the node to be changed from the caller.
///
/// What the registry does not show:
/// - that the owner has the node's key. No signature is asked for, so anybody may be the first to register any key; a
///   reader compares `owner` with the one that it expects;
/// - that the node is reached at `url`, or that `metadataHash` is the hash of anything.
///
/// Nothing is paid in or out, and nobody can remove or change an entry for its owner. The account that deployed the contract
/// states the lowest version of the node that the network wants, and has no other power; it cannot be handed on.
/// @dev What is unregistered stays readable as inactive. The list of all nodes only grows at its end, so that pages of it
/// never move.
contract VaultNodeRegistry {
    /// @notice A node, as `getNode` gives it.
    /// @param owner the account that registered it, also after it was unregistered; 0 if it never was registered
    /// @param publicKey its raw Ed25519 key, 32 bytes
    /// @param url where it is reached, a multiaddr
    /// @param metadataHash keccak256 of what the node says of itself
    /// @param registeredAt time of its last registration, seconds since 1970
    /// @param active whether it is registered now
    struct Node {
        address owner;
        bytes publicKey;
        string url;
        bytes32 metadataHash;
        uint256 registeredAt;
        bool active;
    }

    /// @dev A node, as it is kept: the first three share a slot, which is all that most calls read.
    /// `place` is its place among the active nodes, counted from 1, and 0 if it is not one of them.
    struct Entry {
        address owner;
        uint48 registeredAt;
        uint48 place;
        bytes32 publicKey;
        bytes32 metadataHash;
        string url;
    }

    /// @dev Bytes of an Ed25519 key.
    uint256 private constant KEY_LENGTH = 32;

    /// @dev Most bytes of a URL: room for the address of a circuit by names, keys and certificate hashes. Each 32 bytes
    /// cost the owner a slot, and each reader as much again.
    uint256 private constant MAX_URL_LENGTH = 512;

    /// @dev Most bytes of a version, which every node reads.
    uint256 private constant MAX_VERSION_LENGTH = 64;

    mapping(bytes32 nodeId => Entry) private _entries;
    mapping(address owner => bytes32 nodeId) private _nodeOf;

    /// @dev Every node ever registered, once, in the order of first registration.
    bytes32[] private _all;

    /// @dev The nodes registered now. A place that falls free is taken by the last.
    bytes32[] private _active;

    /// @dev In storage and not immutable, so that the code at each address is the artifact's to the byte.
    address private _deployer;

    /// @notice The lowest version of the node that the network wants; empty if it does not say.
    string public minVersion;

    /// @notice The node is registered, for the first time or again.
    event NodeRegistered(bytes32 indexed nodeId, address indexed owner);
    /// @notice The owner stated URL and metadata anew, whether or not they differ.
    event NodeUpdated(bytes32 indexed nodeId);
    /// @notice The node is no longer registered.
    event NodeUnregistered(bytes32 indexed nodeId);
    /// @notice The network wants this version from now on.
    event MinVersionUpdated(string version);

    /// @notice The caller has a registered node already, this one. It has to be unregistered first.
    error OwnerHasNode(bytes32 nodeId);
    /// @notice Another account has registered this node.
    error NodeHasOwner(bytes32 nodeId, address owner);
    /// @notice The caller has no registered node.
    error NoNode(address caller);
    /// @notice The public key has not the length of an Ed25519 key.
    error WrongKeyLength(uint256 expected, uint256 actual);
    /// @notice The URL is empty or has more than `max` bytes.
    error WrongUrlLength(uint256 max, uint256 actual);
    /// @notice The version has more than `max` bytes.
    error VersionTooLong(uint256 max, uint256 actual);
    /// @notice Only the account that deployed the contract may call this.
    error NotDeployer(address caller);

    constructor() {
        _deployer = msg.sender;
    }

    /// @notice Registers the caller's node. A node that was unregistered may be registered again, by anybody: it then belongs
    /// to whoever does so, and keeps its place in the list of all nodes.
    /// @param publicKey the node's raw Ed25519 key, 32 bytes
    /// @param url where it is reached, a multiaddr, 1 to 512 bytes; it is not checked further
    /// @param metadataHash keccak256 of what the node says of itself
    /// @return nodeId keccak256 of the key
    function registerNode(bytes calldata publicKey, string calldata url, bytes32 metadataHash)
        external
        returns (bytes32 nodeId)
    {
        if (publicKey.length != KEY_LENGTH) revert WrongKeyLength(KEY_LENGTH, publicKey.length);
        _checkUrl(url);
        bytes32 other = _nodeOf[msg.sender];
        if (other != 0) revert OwnerHasNode(other);
        nodeId = keccak256(publicKey);
        Entry storage entry = _entries[nodeId];
        if (entry.place != 0) revert NodeHasOwner(nodeId, entry.owner);
        if (entry.registeredAt == 0) {
            _all.push(nodeId);
            entry.publicKey = bytes32(publicKey);
        }
        _active.push(nodeId);
        _nodeOf[msg.sender] = nodeId;
        entry.owner = msg.sender;
        entry.registeredAt = uint48(block.timestamp);
        entry.place = uint48(_active.length);
        entry.url = url;
        entry.metadataHash = metadataHash;
        emit NodeRegistered(nodeId, msg.sender);
    }

    /// @notice States URL and metadata of the caller's node anew.
    /// @param url where it is reached, a multiaddr, 1 to 512 bytes
    /// @param metadataHash keccak256 of what the node says of itself
    function updateNode(string calldata url, bytes32 metadataHash) external {
        bytes32 nodeId = _nodeOfCaller();
        _checkUrl(url);
        Entry storage entry = _entries[nodeId];
        entry.url = url;
        entry.metadataHash = metadataHash;
        emit NodeUpdated(nodeId);
    }

    /// @notice Unregisters the caller's node. Its entry stays, as inactive; the caller may register another node.
    function unregisterNode() external {
        bytes32 nodeId = _nodeOfCaller();
        Entry storage entry = _entries[nodeId];
        uint256 place = entry.place;
        bytes32 last = _active[_active.length - 1];
        if (last != nodeId) {
            _active[place - 1] = last;
            _entries[last].place = uint48(place);
        }
        _active.pop();
        entry.place = 0;
        delete _nodeOf[msg.sender];
        emit NodeUnregistered(nodeId);
    }

    /// @notice States the lowest version of the node that the network wants. Only for the account that deployed the contract.
    /// @param version at most 64 bytes; empty if none is wanted
    function setMinVersion(string calldata version) external {
        if (msg.sender != _deployer) revert NotDeployer(msg.sender);
        uint256 length = bytes(version).length;
        if (length > MAX_VERSION_LENGTH) revert VersionTooLong(MAX_VERSION_LENGTH, length);
        minVersion = version;
        emit MinVersionUpdated(version);
    }

    /// @notice A node, registered or unregistered; of one that never was registered all fields are empty.
    function getNode(bytes32 nodeId) external view returns (Node memory) {
        Entry storage entry = _entries[nodeId];
        if (entry.registeredAt == 0) return Node(address(0), "", "", 0, 0, false);
        return Node(
            entry.owner,
            abi.encodePacked(entry.publicKey),
            entry.url,
            entry.metadataHash,
            entry.registeredAt,
            entry.place != 0
        );
    }

    /// @notice A page of every node ever registered, in the order of first registration: at most `limit` from the one at
    /// `offset`, counted from 0. Fewer come only at the end of the list; from beyond it, none.
    function getAllNodes(uint256 offset, uint256 limit) external view returns (bytes32[] memory page) {
        uint256 total = _all.length;
        uint256 count = offset < total ? total - offset : 0;
        if (count > limit) count = limit;
        page = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            page[i] = _all[offset + i];
        }
    }

    /// @notice The nodes registered now, in no order. A list that has grown too long for one answer is to be read by pages of
    /// `getAllNodes` instead.
    function getActiveNodes() external view returns (bytes32[] memory) {
        return _active;
    }

    /// @notice The node that this account has registered now, or 0.
    function getNodeByOwner(address owner) external view returns (bytes32) {
        return _nodeOf[owner];
    }

    /// @notice Whether this node is registered now.
    function isNodeActive(bytes32 nodeId) external view returns (bool) {
        return _entries[nodeId].place != 0;
    }

    /// @notice How many nodes there are.
    /// @return total every node ever registered: how far `getAllNodes` goes
    /// @return active those registered now
    function getNodeCount() external view returns (uint256 total, uint256 active) {
        return (_all.length, _active.length);
    }

    /// @dev The node that the caller has registered.
    function _nodeOfCaller() private view returns (bytes32 nodeId) {
        nodeId = _nodeOf[msg.sender];
        if (nodeId == 0) revert NoNode(msg.sender);
    }

    function _checkUrl(string calldata url) private pure {
        uint256 length = bytes(url).length;
        if (length == 0 || length > MAX_URL_LENGTH) revert WrongUrlLength(MAX_URL_LENGTH, length);
    }
}
