//! `HttpActor`: the node's face to its clients, and the only crate that knows actix-web.
//!
//! The actor itself is small: it owns the server's handle, hears how the store and the other parts
//! are, and stops the server in order. Requests never pass through it. They run on the server's
//! worker threads, which share one [`state`] of latest snapshots and reach the store through its
//! port. What every request has in common (who may ask, how often, request ids, problem documents)
//! is decided in [`gate`]; the routes hold what is theirs alone.
//!
//! Bounds: connections, requests in flight (the permits of `actors.http.mailbox`), bytes of uploads
//! in memory, requests per client address, size and pace of each body in either direction. When one
//! is reached the client is told so at once, and for how long to wait; nothing queues inside.
//!
//! At shutdown the listener closes first, requests in flight get their time, then connections are
//! cut. A crash loses nothing but answers: this crate keeps no state on disk.

mod access;
mod actor;
mod body;
mod conn;
mod disposition;
mod endpoint;
mod gate;
mod metrics;
mod multipart;
mod openapi;
mod options;
mod problem;
mod process;
mod range;
mod routes;
mod server;
mod state;
mod upload;

pub use actor::HttpActor;
pub use endpoint::{Access as EndpointAccess, Endpoint};
pub use openapi::openapi_json;
pub use options::{HttpOptions, HttpSettings, SetLogLevel};
pub use problem::Code;
pub use server::BindError;
