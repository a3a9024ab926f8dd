//! Metadata that was read lately, opened: a warm read spares a lookup and a key derivation.
//!
//! The commit thread changes what is here after each group is written and before its callers are
//! told, so nobody who was answered sees older metadata. A reader may bring in only what it read
//! while nothing was changed: else it could bring back what was just deleted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::keyring::SealedName;
use super::record::BlobMeta;
use super::state::lock;

/// Entries in all: about 400 bytes each. Too few: warm reads look everything up again. Too many:
/// memory that blocks would use better.
const ENTRIES: usize = 65_536;
/// Parts with a lock each.
const PARTS: usize = 64;
const PART_ENTRIES: usize = ENTRIES / PARTS;

/// The cache.
pub(crate) struct MetaCache {
    parts: Vec<Mutex<Part>>,
}

#[derive(Default)]
struct Part {
    /// Counts the changes of the commit thread.
    changes: u64,
    places: HashMap<SealedName, usize>,
    entries: Vec<Entry>,
    /// The next entry that is looked at when one has to go.
    hand: usize,
}

struct Entry {
    name: SealedName,
    meta: Arc<BlobMeta>,
    /// Used since the hand last came by.
    used: bool,
}

/// What the cache says of a name.
pub(crate) enum Cached {
    /// This.
    Hit(Arc<BlobMeta>),
    /// Nothing. The ticket allows bringing in what is read from here on.
    Miss(Ticket),
}

/// How far the changes were when the reading began.
pub(crate) struct Ticket(u64);

impl MetaCache {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
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
            return Cached::Hit(Arc::clone(&entry.meta));
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
                if let Some(entry) = part.entries.get_mut(place) {
                    entry.meta = Arc::clone(meta);
                }
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
                self.places.insert(*name, hand);
                return;
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let gone = self.entries.swap_remove(place);
        self.places.remove(&gone.name);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.name, place);
        }
    }
}

impl fmt::Debug for MetaCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetaCache")
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
            sealed_size: size,
        })
    }

    fn name(number: u64) -> SealedName {
        *Digest::of(&number.to_be_bytes()).as_bytes()
    }

    fn size(cache: &MetaCache, name: &SealedName) -> Option<u64> {
        match cache.get(name) {
            Cached::Hit(meta) => Some(meta.size),
            Cached::Miss(_) => None,
        }
    }

    fn fill(cache: &MetaCache, number: u64) {
        if let Cached::Miss(ticket) = cache.get(&name(number)) {
            cache.fill(&name(number), &meta(number), ticket);
        }
    }

    #[test]
    fn what_was_read_before_a_change_is_not_brought_in() {
        let cache = MetaCache::new();
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
        let cache = MetaCache::new();
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
        let cache = MetaCache::new();
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
}
