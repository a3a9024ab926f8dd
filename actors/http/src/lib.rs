//! HttpActor: the HTTP API.
