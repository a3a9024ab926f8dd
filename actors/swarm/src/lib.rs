//! SwarmActor: the node's place in the libp2p network.
