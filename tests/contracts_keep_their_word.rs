//! The contracts that are checked in are what their sources compile to, and the registry of nodes does on a
//! chain of its own what docs/registry.md says of it.

use std::collections::BTreeSet;

use crate::harness::disk;
use crate::harness::js::run;
use crate::harness::repository;

/// Runs a program that checks something, which must find it right and say so in these words.
#[track_caller]
fn checked(args: &[&str], words: &[&str]) {
    let said = run(args, "").well().stdout;
    for words in words {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

#[test]
fn they_compile_to_the_bytes_that_are_checked_in() {
    let said = run(&["contracts.mjs", "check"], "").well().stdout;
    let sources = disk::files(&repository().join("actors/registry/contracts"));
    let expected: BTreeSet<String> = sources
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "sol"))
        .filter_map(|file| file.file_stem()?.to_str())
        .map(|name| format!("{name} the same"))
        .collect();
    assert!(expected.len() >= 2, "{expected:?}");
    assert_eq!(
        said.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn the_registry_has_the_published_interface() {
    checked(&["registry-chain.mjs", "interface"], &["as published"]);
}

#[test]
fn the_registry_refuses_what_it_says_and_tells_what_it_does() {
    checked(
        &["registry-chain.mjs", "promises"],
        &[
            "one node for each owner, one owner for each node",
            "owners change their own node and no other",
            "registered again after unregistering",
            "lengths are bounded",
            "the lowest version is stated by who deployed",
            "events are found by node and by owner",
        ],
    );
}

#[test]
fn the_registry_does_as_a_model_of_it_does() {
    checked(&["registry-chain.mjs", "walk"], &["walked 400 steps"]);
}

#[test]
fn a_thousand_nodes_are_read_by_pages_and_cost_what_the_page_says() {
    checked(
        &["registry-chain.mjs", "thousand"],
        &["pages of 1000 nodes", "gas as in docs/registry.md"],
    );
}
