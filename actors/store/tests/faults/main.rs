//! Faults of disk and process: what the engine finds, what it never serves, what it says, and what
//! the offline tools make of it. One test binary; a module per kind of fault.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "failpoints")]
mod a_crash_at_any_step_loses_nothing;
#[cfg(feature = "failpoints")]
mod a_crash_leaves_nothing_in_transit_and_no_block_undone;
#[cfg(feature = "failpoints")]
mod a_crash_leaves_retired_blobs_as_they_were_answered;
mod a_damaged_database_is_salvaged;
mod a_full_disk_refuses_and_recovers;
mod a_wrong_count_is_repaired;
mod flipped_bits_are_found_and_never_served;
mod given_up_shards_are_dropped;
mod harness;
mod what_is_not_ours_is_refused;
