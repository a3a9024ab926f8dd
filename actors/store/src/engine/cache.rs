//! What was read lately: metadata, opened, and the sealed bytes of the smallest blobs.
//!
//! A warm read of such a blob asks the database nothing, and is so short that it runs on the
//! caller's thread. The bytes are cached sealed, so every read still proves them whole.
//!
//! The commit thread changes what is here after each group is written and before its callers are
//! told, so nobody who was answered sees older metadata. A reader may bring in only what it read
//! while nothing was changed: else it could bring back what was just deleted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::keyring::SealedName;
use super::record::BlobMeta;
use super::seal::BlobId;
use super::state::lock;

/// Entries in all: about 400 bytes each. Too few: warm reads look everything up again. Too many:
/// memory that blocks would use better.
const ENTRIES: usize = 65_536;
/// Parts with a lock each.
const PARTS: usize = 64;
const PART_ENTRIES: usize = ENTRIES / PARTS;
/// Sealed bytes are kept up to this size: opening them takes less time than waking another thread.
pub(crate) const KEEP_BYTES: usize = 17 << 10;

/// The cache.
pub(crate) struct BlobCache {
    parts: Vec<Mutex<Part>>,
    /// Sealed bytes that a part holds at most.
    part_bytes: usize,
}

#[derive(Default)]
struct Part {
    /// Counts the changes of the commit thread.
    changes: u64,
    places: HashMap<SealedName, usize>,
    entries: Vec<Entry>,
    /// Sealed bytes of all entries.
    bytes: usize,
    /// The next entry that is looked at when one has to go.
    hand: usize,
}

struct Entry {
    name: SealedName,
    meta: Arc<BlobMeta>,
    sealed: Option<Bytes>,
    /// Used since the hand last came by.
    used: bool,
}

/// What the cache says of a name.
pub(crate) enum Cached {
    /// This, with the sealed bytes if they are here too.
    Hit(Arc<BlobMeta>, Option<Bytes>),
    /// Nothing. The ticket allows bringing in what is read from here on.
    Miss(Ticket),
}

/// How far the changes were when the reading began.
pub(crate) struct Ticket(u64);

impl BlobCache {
    /// An empty cache that holds at most `bytes` of sealed bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            part_bytes: bytes / PARTS,
        }
    }

    /// Looks `name` up.
    pub(crate) fn get(&self, name: &SealedName) -> Cached {
        let Some(part) = self.part(name) else {
            return Cached::Miss(Ticket(0));
        };
        let mut part = lock(part);
        let place = part.places.get(name).copied();
        if let Some(entry) = place.and_then(|place| part.entries.get_mut(place)) {
            entry.used = true;
            return Cached::Hit(Arc::clone(&entry.meta), entry.sealed.clone());
        }
        Cached::Miss(Ticket(part.changes))
    }

    /// Brings in what was read, unless something was changed meanwhile.
    pub(crate) fn fill(&self, name: &SealedName, meta: &Arc<BlobMeta>, ticket: Ticket) {
        let Some(part) = self.part(name) else {
            return;
        };
        let mut part = lock(part);
        if part.changes == ticket.0 && !part.places.contains_key(name) {
            part.insert(name, Arc::clone(meta));
        }
    }

    /// Keeps the sealed bytes that were read under `blob_id` and opened, if its metadata is here.
    pub(crate) fn keep(&self, name: &SealedName, blob_id: BlobId, sealed: &[u8]) {
        if sealed.len() > KEEP_BYTES.min(self.part_bytes) {
            return;
        }
        let Some(part) = self.part(name) else {
            return;
        };
        let mut part = lock(part);
        let place = part.places.get(name).copied();
        let Some(entry) = place.and_then(|place| part.entries.get_mut(place)) else {
            return;
        };
        // What lies under an id never changes, so no ticket is needed.
        if entry.meta.blob_id != blob_id || entry.sealed.is_some() {
            return;
        }
        entry.sealed = Some(Bytes::copy_from_slice(sealed));
        entry.used = true;
        part.bytes += sealed.len();
        part.shrink(self.part_bytes);
    }

    /// Sealed bytes in all.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| lock(part).bytes).sum()
    }

    /// The commit thread has changed or deleted (`None`) a blob's metadata.
    pub(crate) fn change(&self, name: &SealedName, meta: Option<&Arc<BlobMeta>>) {
        let Some(part) = self.part(name) else {
            return;
        };
        let mut part = lock(part);
        part.changes += 1;
        let Some(place) = part.places.get(name).copied() else {
            return;
        };
        match meta {
            Some(meta) => {
                part.replace(place, meta);
            }
            None => part.remove(place),
        }
    }

    fn part(&self, name: &SealedName) -> Option<&Mutex<Part>> {
        // Names are outputs of an HMAC, so any byte of them spreads evenly.
        let [first, ..] = *name;
        self.parts.get(usize::from(first) % PARTS)
    }
}

impl Part {
    fn insert(&mut self, name: &SealedName, meta: Arc<BlobMeta>) {
        let entry = Entry {
            name: *name,
            meta,
            sealed: None,
            used: false,
        };
        if self.entries.len() < PART_ENTRIES {
            self.places.insert(*name, self.entries.len());
            self.entries.push(entry);
            return;
        }
        // Second chance: what was used since the last round stays for another.
        loop {
            self.hand = (self.hand + 1) % self.entries.len();
            let hand = self.hand;
            let Some(candidate) = self.entries.get_mut(hand) else {
                return;
            };
            if !std::mem::take(&mut candidate.used) {
                let gone = std::mem::replace(candidate, entry);
                self.places.remove(&gone.name);
                self.bytes -= gone.size();
                self.places.insert(*name, hand);
                return;
            }
        }
    }

    /// Lets sealed bytes go until no more than `most` are left, those not used lately first.
    fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            self.hand = (self.hand + 1) % self.entries.len();
            let Some(entry) = self.entries.get_mut(self.hand) else {
                return;
            };
            if !std::mem::take(&mut entry.used) {
                self.bytes -= entry.size();
                entry.sealed = None;
            }
        }
    }

    /// Puts other metadata in an entry; the bytes stay if they are still the blob's.
    fn replace(&mut self, place: usize, meta: &Arc<BlobMeta>) {
        let Some(entry) = self.entries.get_mut(place) else {
            return;
        };
        if entry.meta.blob_id != meta.blob_id {
            self.bytes -= entry.size();
            entry.sealed = None;
        }
        entry.meta = Arc::clone(meta);
    }

    fn remove(&mut self, place: usize) {
        let gone = self.entries.swap_remove(place);
        self.places.remove(&gone.name);
        self.bytes -= gone.size();
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.name, place);
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.sealed.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for BlobCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobCache")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::{BlobRoot, Digest};

    use super::*;
    use crate::engine::record::Layout;
    use crate::engine::seal::{BlobId, DataKey};

    fn meta(size: u64) -> Arc<BlobMeta> {
        Arc::new(BlobMeta {
            digest: Digest::of(&size.to_be_bytes()),
            size,
            content_type: None,
            file_name: None,
            created_ms: 0,
            blob_id: BlobId::new([0; 16]),
            data_key: DataKey::new([0; 32]),
            blob_root: BlobRoot::new([0; 32]),
            page_roots: Vec::new(),
            layout: Layout::Small,
            pinned: false,
            quarantined: false,
            retired_until_ms: None,
            sealed_size: size,
        })
    }

    fn name(number: u64) -> SealedName {
        *Digest::of(&number.to_be_bytes()).as_bytes()
    }

    fn size(cache: &BlobCache, name: &SealedName) -> Option<u64> {
        match cache.get(name) {
            Cached::Hit(meta, _) => Some(meta.size),
            Cached::Miss(_) => None,
        }
    }

    fn fill(cache: &BlobCache, number: u64) {
        if let Cached::Miss(ticket) = cache.get(&name(number)) {
            cache.fill(&name(number), &meta(number), ticket);
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_brought_in() {
        let cache = BlobCache::new(1 << 20);
        let name = name(1);
        let Cached::Miss(ticket) = cache.get(&name) else {
            panic!("it is empty");
        };
        cache.change(&name, None);
        cache.fill(&name, &meta(1), ticket);
        assert_eq!(size(&cache, &name), None);
    }

    #[test]
    fn changes_are_seen() {
        let cache = BlobCache::new(1 << 20);
        fill(&cache, 1);
        fill(&cache, 2);
        assert_eq!(size(&cache, &name(1)), Some(1));
        cache.change(&name(1), Some(&meta(11)));
        assert_eq!(size(&cache, &name(1)), Some(11));
        cache.change(&name(1), None);
        assert_eq!(size(&cache, &name(1)), None);
        assert_eq!(size(&cache, &name(2)), Some(2));
        cache.change(&name(3), Some(&meta(3)));
        assert_eq!(size(&cache, &name(3)), None, "writes do not fill it");
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = BlobCache::new(1 << 20);
        fill(&cache, 0);
        let many = ENTRIES as u64 * 2;
        for number in 1..many {
            fill(&cache, number);
            assert_eq!(size(&cache, &name(0)), Some(0), "after {number}");
        }
        let held: usize = cache
            .parts
            .iter()
            .map(|part| lock(part).entries.len())
            .sum();
        assert!(held <= ENTRIES);
        for part in &cache.parts {
            let part = lock(part);
            assert_eq!(part.places.len(), part.entries.len());
            for (place, entry) in part.entries.iter().enumerate() {
                assert_eq!(part.places[&entry.name], place);
            }
        }
        // Removing keeps the two in step.
        for number in (0..many).step_by(3) {
            cache.change(&name(number), None);
        }
        for number in 0..many {
            if let Some(size) = size(&cache, &name(number)) {
                assert_eq!(size, number);
            }
        }
    }

    #[test]
    fn sealed_bytes_are_bounded_and_go_with_their_blob() {
        let cache = BlobCache::new(PARTS * 1000);
        for number in 0..10_000 {
            fill(&cache, number);
            cache.keep(&name(number), BlobId::new([0; 16]), &[7; 100]);
        }
        let held = cache.bytes();
        assert!((PARTS * 900..=PARTS * 1000).contains(&held), "{held}");
        for number in 0..10_000 {
            cache.change(&name(number), None);
        }
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn bytes_of_another_id_are_not_kept() {
        let cache = BlobCache::new(1 << 20);
        let sealed = |cache: &BlobCache| match cache.get(&name(1)) {
            Cached::Hit(_, sealed) => sealed,
            Cached::Miss(_) => panic!("its metadata is here"),
        };
        fill(&cache, 1);
        cache.keep(&name(1), BlobId::new([1; 16]), b"older");
        assert_eq!(sealed(&cache), None);
        cache.keep(&name(1), BlobId::new([0; 16]), b"its own");
        assert_eq!(sealed(&cache).unwrap(), "its own");
        // Pinned: the bytes are the same. Stored again: they are not.
        let mut changed = (*meta(1)).clone();
        changed.pinned = true;
        cache.change(&name(1), Some(&Arc::new(changed.clone())));
        assert!(sealed(&cache).is_some());
        changed.blob_id = BlobId::new([2; 16]);
        cache.change(&name(1), Some(&Arc::new(changed)));
        assert_eq!(sealed(&cache), None);
    }
}
