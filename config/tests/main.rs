//! How settings come together, seen from outside: one behaviour per module.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input_is_named_all_at_once;
mod default_toml_and_sections_agree;
mod documentation_is_current;
mod later_layers_win;
mod network_settings_agree;
mod published_names_work;
mod replication_settings_agree;
mod world;
