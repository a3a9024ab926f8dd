//! What lies in a data directory says nothing of what is stored: neither the content, its name, its type
//! nor its digest stands there, and two nodes which stored the same files have nothing in common that a
//! node which stored other files of the same size has not.
//!
//! The other files are of the same shards, since how many bytes a shard holds is no secret of the disk.
//! Names that nodes draw by lot (sessions, files) meet by chance in a letter or two, where a run begins or
//! ends with them. So four nodes store the same, and what tells of the content is what all four share. Each
//! step is done by two of them, then by the node with the other files, then by the other two: whatever the
//! clock writes the same into all four, it writes into the one between as well.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::harness::client::Request;
use crate::harness::{Home, Running, content, disk};

/// Length of the runs that are compared.
const RUN: usize = 32;
/// One blob of each way of writing.
const SIZES: [usize; 3] = [900, 700_000, (4 << 20) + 300_000];
/// Which of the five nodes stores other files.
const OTHER: usize = 2;
const NAME: &str = "minutes-of-the-secret-meeting.odt";
const TYPE: &str = "application/vnd.oasis.opendocument.text";

fn keep(node: &Running, blob: &[u8]) {
    let answer = node
        .client()
        .ask(Request::store(blob).header("Content-Type", TYPE).header(
            "Content-Disposition",
            &format!("attachment; filename=\"{NAME}\""),
        ));
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// A file of a data directory: its path there, and what is in it.
type Held = (String, Vec<u8>);

/// Everything in a data directory.
fn contents(data: &Path) -> Vec<Held> {
    disk::files(data)
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(data).unwrap().display().to_string();
            (name, fs::read(&file).unwrap())
        })
        .collect()
}

/// The same, for comparing. The database writes down where it lies, and its own log tells its story in
/// numbers (times, threads, shards, durations): both are blotted out, after the files were searched for
/// digests.
fn blotted(home: &Home, files: &[Held]) -> Vec<Vec<u8>> {
    let place = home.path().to_str().unwrap().as_bytes();
    files
        .iter()
        .map(|(name, bytes)| {
            let mut bytes = bytes.clone();
            while let Some(at) = disk::position(&bytes, place) {
                bytes[at..at + place.len()].fill(b'#');
            }
            if name.starts_with("db/LOG") {
                blot(&bytes)
            } else {
                bytes
            }
        })
        .collect()
}

/// A log whose numbers and names drawn by lot are all the same.
fn blot(log: &[u8]) -> Vec<u8> {
    let in_word = |a: &u8, b: &u8| a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric();
    let mut blotted = Vec::with_capacity(log.len());
    for word in log.chunk_by(in_word) {
        let number = word.iter().any(u8::is_ascii_digit);
        let hex = word.len() >= 4 && word.iter().all(u8::is_ascii_hexdigit);
        if number || hex || word.len() >= 20 {
            blotted.push(b'0');
        } else {
            blotted.extend_from_slice(word);
        }
    }
    blotted
}

/// Fingerprints of all runs, sorted: a polynomial rolled over the bytes.
fn runs(files: &[Vec<u8>]) -> Vec<u64> {
    const BASE: u64 = 0x9E37_79B9_7F4A_7C15 | 1;
    let last = (0..RUN - 1).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mix = |hash: u64| (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = |byte: u8| (u64::from(byte) + 1).wrapping_mul(0x94D0_49BB_1331_11EB);
    let mut all = Vec::new();
    for file in files {
        let mut hash = 0u64;
        for (at, &byte) in file.iter().enumerate() {
            if at >= RUN {
                hash = hash.wrapping_sub(value(file[at - RUN]).wrapping_mul(last));
            }
            hash = hash.wrapping_mul(BASE).wrapping_add(value(byte));
            if at + 1 >= RUN {
                all.push(mix(hash));
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The first run of `file` whose fingerprint is among these.
fn show(home: &Home, files: &[Held], wanted: &HashSet<u64>) -> String {
    for ((name, _), bytes) in files.iter().zip(blotted(home, files)) {
        for window in bytes.windows(RUN) {
            if runs(&[window.to_vec()])
                .first()
                .is_some_and(|hash| wanted.contains(hash))
            {
                return format!("{name}: {:?}", String::from_utf8_lossy(window));
            }
        }
    }
    String::new()
}

#[test]
fn two_nodes_with_the_same_files_share_nothing_that_tells_of_it() {
    let secret: Vec<Vec<u8>> = SIZES
        .iter()
        .map(|&size| content::bytes(size as u64, size))
        .collect();
    let other: Vec<Vec<u8>> = secret
        .iter()
        .map(|blob| {
            let shard = content::shard(blob, 16);
            content::in_shard(4711, blob.len(), 16, |s| s == shard)
        })
        .collect();

    // The one between is OTHER.
    let homes: [Home; 5] = std::array::from_fn(|_| Home::new());
    let nodes: Vec<Running> = homes.iter().map(Home::start).collect();
    for (mine, theirs) in secret.iter().zip(&other) {
        for (n, node) in nodes.iter().enumerate() {
            keep(node, if n == OTHER { theirs } else { mine });
        }
    }
    // And one that was stored and deleted.
    let gone = content::bytes(55, 60_000);
    let shard = content::shard(&gone, 16);
    let gone_other = content::in_shard(56, gone.len(), 16, |s| s == shard);
    for (n, node) in nodes.iter().enumerate() {
        let blob = if n == OTHER { &gone_other } else { &gone };
        keep(node, blob);
        let path = format!("/blobs/{}", content::cid(blob));
        assert_eq!(node.client().ask(Request::new("DELETE", path)).status, 204);
    }
    // Running, with all in the log, and stopped and opened again, with it elsewhere.
    compare(&homes, &secret, &gone);
    for node in nodes {
        node.stop();
    }
    let nodes: Vec<Running> = homes.iter().map(Home::start).collect();
    for node in nodes {
        node.stop();
    }
    compare(&homes, &secret, &gone);
}

fn compare(homes: &[Home; 5], secret: &[Vec<u8>], gone: &[u8]) {
    let mut shared: Option<Vec<u64>> = None;
    let mut others = Vec::new();
    for (n, home) in homes.iter().enumerate() {
        let files = contents(&home.data());
        let runs = runs(&blotted(home, &files));
        if n == OTHER {
            others = runs;
            continue;
        }
        let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size > SIZES.iter().sum::<usize>(), "the blobs are there");
        for blob in secret.iter().map(Vec::as_slice).chain([gone]) {
            absent(&files, blob);
            // Nor in the log of the node, at its usual level.
            let log: Vec<Held> = disk::files(home.path())
                .into_iter()
                .filter(|file| !file.starts_with(home.data()))
                .map(|file| (file.display().to_string(), fs::read(&file).unwrap()))
                .collect();
            assert!(!log.is_empty());
            absent(&log, blob);
        }
        shared = Some(match shared {
            None => runs,
            Some(shared) => shared
                .into_iter()
                .filter(|run| runs.binary_search(run).is_ok())
                .collect(),
        });
    }
    let mut shared = shared.unwrap();
    assert!(!shared.is_empty(), "nodes have their format in common");
    let in_all_four = shared.clone();
    shared.retain(|run| others.binary_search(run).is_err());
    let shared: HashSet<u64> = shared.into_iter().collect();
    assert!(
        shared.is_empty(),
        "{} runs betray the same content, the first in {}",
        shared.len(),
        show(&homes[0], &contents(&homes[0].data()), &shared)
    );

    // No run of the content itself, wherever it begins: one that is on disk would be in all four.
    for blob in secret {
        let here = runs(std::slice::from_ref(blob))
            .into_iter()
            .any(|run| in_all_four.binary_search(&run).is_ok());
        assert!(
            !here,
            "a run of the content of {} bytes stands on disk",
            blob.len()
        );
    }
}

/// Asserts that no file names a blob in any usual form.
fn absent(files: &[Held], blob: &[u8]) {
    let digest = content::sha256(blob);
    let hex = content::hex(&digest);
    let cid = content::cid(blob);
    let needles: [(&str, Vec<u8>); 9] = [
        ("name", NAME.as_bytes().to_vec()),
        ("type", TYPE.as_bytes().to_vec()),
        ("raw digest", digest.to_vec()),
        ("hex digest", hex.clone().into_bytes()),
        ("upper-case hex digest", hex.to_uppercase().into_bytes()),
        ("CID", cid.clone().into_bytes()),
        // Without the part that all CIDs share.
        ("base32 digest", cid.as_bytes()[8..].to_vec()),
        (
            "upper-case base32 digest",
            cid[8..].to_uppercase().into_bytes(),
        ),
        ("blob root", content::blob_root(blob).to_vec()),
    ];
    for (file, bytes) in files {
        for (what, needle) in &needles {
            assert!(!disk::contains(bytes, needle), "{file} holds the {what}");
        }
        assert!(
            !disk::contains(bytes, &blob[..RUN]),
            "{file} holds the first bytes of the content"
        );
    }
}

/// The measure finds what it must find.
#[test]
fn the_measure_finds_a_shared_run() {
    let shared = content::bytes(1, RUN);
    let one = [
        content::bytes(2, 1000),
        shared.clone(),
        content::bytes(3, 500),
    ]
    .concat();
    let two = [content::bytes(4, 333), shared, content::bytes(5, 77)].concat();
    let (one, two) = (runs(&[one]), runs(&[two]));
    assert_eq!(
        one.iter()
            .filter(|run| two.binary_search(run).is_ok())
            .count(),
        1
    );
    assert!(disk::contains(b"aabc", b"abc") && !disk::contains(b"aabb", b"abc"));
}
