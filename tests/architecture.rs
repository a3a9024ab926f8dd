//! The house keeps its shape: who may depend on whom, what stays out of where, and what tidiness asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::harness::{disk, repository};

/// Lines above which a source file must say in its head why it is one thing.
const LONG_FILE_LINES: usize = 600;
/// Lines of a shell (`actor.rs`), its tests not counted.
const SHELL_LINES: usize = 220;

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn table(path: impl AsRef<Path>) -> Table {
    let path = path.as_ref();
    read(path)
        .parse()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Directory of each member, by the name of its package.
fn members() -> BTreeMap<String, PathBuf> {
    let root = table("Cargo.toml");
    let list = root["workspace"]["members"].as_array().unwrap();
    list.iter()
        .map(|dir| {
            let dir = PathBuf::from(dir.as_str().unwrap());
            let name = table(dir.join("Cargo.toml"))["package"]["name"]
                .as_str()
                .unwrap()
                .to_owned();
            (name, dir)
        })
        .collect()
}

/// Names of the dependencies of a manifest, in the tables of these names, targets included.
fn dependencies(manifest: &Table, kinds: &[&str]) -> BTreeSet<String> {
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    tables
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(Table::keys)
        .cloned()
        .collect()
}

const ALL_KINDS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Source files of the workspace: path from the root, and text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for dir in ["src", "actors", "config", "tests", "benches"] {
        for file in disk::files(&repository().join(dir)) {
            if file.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&file).unwrap();
                all.push((file.strip_prefix(repository()).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(all.len() > 30, "only {} source files were found", all.len());
    all
}

/// A source without its line comments.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn dependencies_run_one_way() {
    let members = members();
    let actors = ["store", "swarm", "replicator", "proof", "registry", "http"];
    for (name, dir) in &members {
        let allowed: Vec<&str> = match name.as_str() {
            "bytecave-core" => vec![],
            "bytecave-messages" | "bytecave-config" => vec!["core"],
            "bytecave-bench" => vec!["core", "messages", "config", "store"],
            "bytecave" => [&["core", "messages", "config"][..], &actors].concat(),
            actor if actors.iter().any(|a| actor == format!("bytecave-{a}")) => {
                vec!["core", "messages", "config"]
            }
            other => panic!("{other} is not in the picture of the architecture"),
        };
        let found = dependencies(&table(dir.join("Cargo.toml")), ALL_KINDS);
        for dependency in found.iter().filter_map(|d| d.strip_prefix("bytecave-")) {
            assert!(
                allowed.contains(&dependency),
                "{name} must not depend on bytecave-{dependency}"
            );
        }
    }
    for actor in actors {
        assert!(
            members.contains_key(&format!("bytecave-{actor}")),
            "no crate for the actor {actor}"
        );
    }
}

/// The packages that one brings with it, by Cargo.lock.
fn closure(of: &str) -> BTreeSet<String> {
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let mut seen = BTreeSet::new();
    let mut open = vec![of.to_owned()];
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let of_that_name = packages
            .iter()
            .filter(|p| p["name"].as_str() == Some(&name));
        for dependency in of_that_name
            .filter_map(|p| p.get("dependencies")?.as_array())
            .flatten()
        {
            open.push(
                dependency
                    .as_str()
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    assert!(seen.len() > 5, "{of} is not in Cargo.lock");
    seen
}

#[test]
fn vocabulary_and_contract_stay_light() {
    let heavy = [
        "rocksdb",
        "librocksdb-sys",
        "libp2p",
        "alloy",
        "actix-web",
        "actix-http",
        "reqwest",
        "clap",
        "tokio-tungstenite",
        "aws-lc-sys",
    ];
    for package in ["bytecave-core", "bytecave-messages", "bytecave-config"] {
        let brought = closure(package);
        for name in heavy {
            assert!(!brought.contains(name), "{package} pulls in {name}");
        }
        assert!(
            !brought
                .iter()
                .any(|n| n.starts_with("libp2p-") || n.starts_with("alloy-")),
            "{brought:?}"
        );
    }
    let core = closure("bytecave-core");
    for name in ["actix", "actix-rt", "tokio", "futures-util"] {
        assert!(
            !core.contains(name),
            "bytecave-core is pure and pulls in {name}"
        );
    }
}

#[test]
fn each_large_library_has_one_home() {
    let homes: [(&str, &[&str]); 6] = [
        ("rocksdb", &["bytecave-store", "bytecave-bench"]),
        ("libp2p", &["bytecave-swarm", "bytecave-bench"]),
        ("alloy", &["bytecave-registry"]),
        ("actix-web", &["bytecave-http"]),
        ("tokio-tungstenite", &["bytecave-swarm"]),
        ("k256", &["bytecave-core", "bytecave-replicator"]),
    ];
    for (name, dir) in members() {
        let found = dependencies(&table(dir.join("Cargo.toml")), ALL_KINDS);
        for (library, home) in homes {
            assert!(
                home.contains(&name.as_str()) || !found.contains(library),
                "{name} must not know {library}"
            );
        }
    }
}

#[test]
fn pure_parts_name_no_actix_type() {
    let pure: Vec<(PathBuf, String)> = sources()
        .into_iter()
        .filter(|(path, _)| {
            let path = path.to_str().unwrap();
            path.starts_with("actors/store/src/engine")
                || path.starts_with("actors/swarm/src/wire/")
                || path.starts_with("actors/core/")
                || path == "actors/replicator/src/placement.rs"
                || path == "actors/proof/src/challenge.rs"
        })
        .collect();
    for there in ["actors/store/src/engine", "actors/swarm/src/wire/"] {
        assert!(
            pure.iter().any(|(path, _)| path.starts_with(there)),
            "nothing was found in {there}"
        );
    }
    for (path, text) in pure {
        assert!(
            !code(&text).contains("actix"),
            "{} names actix",
            path.display()
        );
    }
}

/// Only the swarm knows libp2p, and of it only the parts that speak to the network: what the rest of the node
/// hears is in the types of the contract. What the bare stream can carry is measured without a node.
#[test]
fn libp2p_types_stay_inside_the_swarm() {
    let elsewhere = sources().into_iter().filter(|(path, _)| {
        !path.starts_with("actors/swarm")
            && !path.starts_with("benches")
            && !path.ends_with("tests/architecture.rs")
    });
    for (path, text) in elsewhere {
        assert!(
            !code(&text).contains("libp2p::"),
            "{} names a type of libp2p",
            path.display()
        );
    }
    let library = code(&read("actors/swarm/src/lib.rs"));
    assert!(
        !library.contains("pub use libp2p"),
        "bytecave-swarm hands libp2p on"
    );
}

#[test]
fn the_top_level_has_only_its_known_names() {
    const ALLOWED: &[&str] = &[
        "Cargo.toml",
        "src",
        "actors",
        "config",
        "tests",
        "benches",
        "Dockerfile",
        "README.md",
        "Cargo.lock",
        "LICENSE",
        "Makefile",
        "docs",
        "docker-compose.yml",
        "CHANGELOG.md",
        "fuzz",
        ".cargo",
        ".ci",
        ".git",
        ".github",
        ".gitignore",
        ".dockerignore",
        ".editorconfig",
        "clippy.toml",
        "rustfmt.toml",
        "deny.toml",
        "rust-toolchain.toml",
    ];
    // What git does not see is nobody's business: builds, data, logs.
    let ignored = read(".gitignore");
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    for entry in fs::read_dir(repository()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            ALLOWED.contains(&name.as_str()) || ignored.contains(&name.as_str()),
            "{name} stands at the top level"
        );
    }
    let members = table("Cargo.toml")["workspace"]["members"].to_string();
    assert!(
        !members.contains('*'),
        "the member list is the map, and names each member: {members}"
    );
}

#[test]
fn every_dependency_is_explained_and_every_explanation_has_one() {
    let root = table("Cargo.toml");
    let ours = |name: &str| name.starts_with("bytecave");
    let used: BTreeSet<String> = root["workspace"]["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let page = read("docs/dependencies.md");
    let explained: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    for name in &used {
        assert!(
            explained.contains(name) || (ours(name) && page.contains(&format!("`{name}`"))),
            "docs/dependencies.md says nothing of {name}"
        );
    }
    for name in &explained {
        assert!(
            used.contains(name),
            "docs/dependencies.md explains {name}, which nothing depends on"
        );
    }

    // Each version stands in one place, and each entry is somebody's.
    let mut wanted = BTreeSet::new();
    for (member, dir) in members() {
        let manifest = table(dir.join("Cargo.toml"));
        for kind in ALL_KINDS {
            for (name, how) in manifest
                .get(*kind)
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
            {
                assert_eq!(
                    how.get("workspace").and_then(Value::as_bool),
                    Some(true),
                    "{member} has its own {name}"
                );
                wanted.insert(name.clone());
            }
        }
    }
    let unused: Vec<&String> = used.difference(&wanted).collect();
    assert!(
        unused.is_empty(),
        "in [workspace.dependencies] and used by no member: {unused:?}"
    );
}

#[test]
fn every_crate_keeps_the_lints() {
    let root = table("Cargo.toml");
    assert_eq!(
        root["workspace"]["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
    assert_eq!(
        root["workspace"]["lints"]["clippy"]["unwrap_used"].as_str(),
        Some("deny")
    );
    for (name, dir) in members() {
        let manifest = table(dir.join("Cargo.toml"));
        let inherits = manifest
            .get("lints")
            .and_then(|l| l.get("workspace"))
            .and_then(Value::as_bool);
        assert_eq!(
            inherits,
            Some(true),
            "{name} does not take the lints of the workspace"
        );
        for word in ["utils", "common", "helpers", "misc"] {
            assert!(!name.contains(word), "{name} is named {word}");
        }
    }
}

#[test]
fn no_file_is_two_things() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        let head: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(
            lines <= LONG_FILE_LINES || head.contains("long because"),
            "{} has {lines} lines: split it, or let its head say what it is long because of",
            path.display()
        );
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["misc", "utils", "util", "helpers", "common"].contains(&stem),
            "{}",
            path.display()
        );
        if path.starts_with("actors") && path.ends_with("src/actor.rs") {
            let shell = text.split("#[cfg(test)]").next().unwrap().lines().count();
            assert!(
                shell <= SHELL_LINES,
                "the shell {} has {shell} lines",
                path.display()
            );
        }
        assert!(
            head.len() > 10
                || stem == "tests"
                || stem.ends_with("_tests")
                || path.components().any(|c| c.as_os_str() == "tests"),
            "{} has no head",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["unimple", "mented!("],
        ["to", "do!("],
    ]
    .map(|w| w.concat());
    for (path, text) in sources() {
        for word in &words {
            let line = text.lines().position(|line| line.contains(word.as_str()));
            assert!(
                line.is_none(),
                "{}:{} says {word}",
                path.display(),
                line.unwrap_or_default() + 1
            );
        }
    }
}

#[test]
fn these_tests_link_no_actor_crate() {
    let names: Vec<String> = members()
        .into_keys()
        .filter(|name| name != "bytecave")
        .map(|name| format!("{}::", name.replace('-', "_")))
        .collect();
    for (path, text) in sources()
        .into_iter()
        .filter(|(path, _)| path.starts_with("tests"))
    {
        for name in &names {
            assert!(
                !text.contains(name.as_str()),
                "{} uses {name}",
                path.display()
            );
        }
    }
    let root = table("Cargo.toml");
    assert_eq!(root["package"]["autotests"].as_bool(), Some(false));
    assert_eq!(
        root["test"].as_array().map(Vec::len),
        Some(1),
        "there is one binary of whole-node tests"
    );
    let dev = dependencies(&root, &["dev-dependencies"]);
    assert!(
        !dev.iter().any(|name| name.starts_with("bytecave")),
        "{dev:?}"
    );
}
