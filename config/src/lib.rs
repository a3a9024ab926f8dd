//! Settings of a `ByteCave` node: layers, environment names, typed sections.
//!
//! [`load`] takes [`Inputs`] (working directory, environment, flags, nothing else) and gives [`Loaded`]: the
//! typed [`Config`] and, for every key, who set it. Later layers win: the built-in `default.toml`, then
//! `bytecave.toml` and `config/local.toml` or the file of `--config`, then `.env`, then the environment, then
//! flags. Whatever is wrong in any of them is found in one go and listed in [`Problems`].
//!
//! Sections are declared once, in `sections.rs`; what a setting does stands once, in `default.toml`; the key
//! list, the JSON Schema and the table in the documentation are made from the two.
//!
//! This crate opens no file but the configuration's, sets no variable of the process, and reads no secret:
//! secrets are named by the path of their file.

mod chain;
mod checks;
mod dotenv;
mod keys;
mod kinds;
mod layers;
mod load;
mod network;
mod origin;
mod problem;
mod sections;
mod setting;
mod text_forms;
mod units;
mod words;

pub use chain::{EthAddress, RpcUrl};
pub use keys::{DEFAULT_TOML, KeyInfo, json_schema, keys, markdown_table};
pub use layers::{Flag, Inputs};
pub use load::{Loaded, Provenance, load};
pub use network::{
    HostIp, HostName, LinkUrl, ListenAddress, PeerAddress, PeerName, ProxyNet, WebOrigin,
};
pub use origin::{Layer, Origin};
pub use problem::{Problem, Problems, Setting};
pub use sections::{
    Actor, Actors, Config, Http, Log, Node, P2p, Proof, Registry, Replication, Store,
};
pub use setting::Mismatch;
pub use units::{ByteSize, Ratio, TimeSpan};
pub use words::{
    AppId, Durability, LogFile, LogFilter, LogFormat, LogRotation, NodeName, P2pStoreAccess,
    ReplicateAccess, SecretFile, StoreAccess,
};

impl Config {
    /// The built-in defaults, untouched by any file or variable.
    pub fn built_in() -> Result<Self, Problems> {
        load(&Inputs::default()).map(|loaded| loaded.config)
    }
}
