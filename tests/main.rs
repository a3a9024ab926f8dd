//! Behaviour of whole nodes: each module is one sentence about them, and drives the built program
//! from outside, over HTTP, its command line, its signals and its files. No actor crate is linked.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod a_blob_is_found_at_peers;
mod a_broken_upload_leaves_nothing;
mod a_deletion_is_this_nodes_alone;
mod a_full_mailbox_sheds_and_recovers;
mod a_node_keeps_to_its_shards;
mod a_node_starts_and_stops_in_order;
mod an_uploaded_page_runs_no_script;
mod architecture;
mod bad_requests_are_refused_with_a_reason;
mod bad_settings_stop_the_start;
mod browsers_store_through_a_relay;
mod contracts_keep_their_word;
mod copies_are_where_they_belong;
mod copies_that_are_not_needed_go;
#[cfg(feature = "failpoints")]
mod crash_points_lose_nothing;
mod damage_is_found_and_never_served;
mod full_disks_and_quotas_answer_507;
mod hostile_peers_are_bounded;
mod javascript_peers_are_heard;
mod javascript_peers_are_served;
mod kill_minus_nine;
mod lost_and_altered_blobs_fail_audits;
mod lying_peers_are_found_out;
mod nodes_find_one_another;
mod nodes_of_the_first_version_are_no_copies;
mod nothing_of_the_content_is_on_disk;
mod proofs_verify_elsewhere;
mod strangers_are_kept_out;
mod the_command_line_drives_a_node;
mod the_published_answers_keep_their_shape;
mod what_is_stored_comes_back;
mod what_peers_send_needs_leave;
mod what_was_acknowledged_is_copied_after_a_crash;
