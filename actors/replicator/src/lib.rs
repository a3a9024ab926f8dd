//! ReplicatorActor: copies where they belong.
