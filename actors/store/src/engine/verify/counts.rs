//! The outbox and the counters of a family, set against what was found in it.

use super::super::layout::{COUNTERS_KEY, name_key, parse_outbox_key, prefix};
use super::super::record::{self, Counters, OutboxItem};
use super::super::scan::Go;
use super::OfflineError;
use super::keep::Keep;
use super::report::{Count, WrongCounters};
use super::survey::{Action, Family, Survey, Surveyed};

impl Survey<'_> {
    pub(super) fn stored_counters(&mut self, family: &mut Family<'_>) -> Option<Counters> {
        let read = self.db.get_cf(family.handle, COUNTERS_KEY);
        let cause = match read {
            Ok(None) => return None,
            Ok(Some(sealed)) => {
                match record::open(self.keyring, family.name, COUNTERS_KEY, &sealed) {
                    Ok(counters) => return Some(counters),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => {
                family.bad_counters = true;
                let cause = error.into_string();
                self.unreadable(family.name, "counters", vec![cause]);
                return None;
            }
        };
        family.bad_counters = true;
        self.bad_record(family.name, "counters", cause);
        None
    }

    pub(super) fn outbox(
        &mut self,
        family: &mut Family<'_>,
        stored: Option<&Counters>,
        keep: &mut dyn Keep,
    ) -> Result<(), OfflineError> {
        let span = self.span(family, vec![prefix::OUTBOX], vec![prefix::OUTBOX + 1]);
        let mut first = None;
        let mut behind_last = 0;
        let mut bad = Vec::new();
        let gaps = span.walk(|key, sealed| {
            let opened = record::open::<OutboxItem>(self.keyring, family.name, key, sealed);
            match (parse_outbox_key(key), opened) {
                (Some(sequence), Ok(item)) => {
                    first = first.or(Some(sequence));
                    behind_last = sequence.saturating_add(1);
                    keep.outbox(family.name, key, &item, sealed)?;
                }
                (_, opened) => {
                    let cause = opened.err().map_or_else(
                        || "its key is none of an outbox".to_owned(),
                        |error| error.to_string(),
                    );
                    bad.push(cause);
                    family.actions.push(Action::Remove(key.to_vec(), 0));
                }
            }
            Ok::<_, OfflineError>(Go::On)
        })?;
        self.unreadable(family.name, "outbox", gaps);
        for cause in bad {
            self.bad_record(family.name, "outbox", cause);
        }
        let counters = &mut family.counters;
        counters.next_sequence = stored
            .map_or(0, |stored| stored.next_sequence)
            .max(behind_last);
        counters.outbox_cursor = stored.map_or_else(
            || first.unwrap_or(counters.next_sequence),
            |stored| stored.outbox_cursor.min(counters.next_sequence),
        );
        Ok(())
    }

    /// Compares the count with the stored counters.
    pub(super) fn count(&mut self, mut family: Family<'_>, stored: Option<Counters>) -> Surveyed {
        self.add_declined(&mut family);
        let counters = &mut family.counters;
        counters.dead_bytes = stored.as_ref().map_or_else(
            || {
                let dropping = self.elsewhere.dropping.get(family.name);
                dropping.copied().unwrap_or_default()
            },
            |stored| stored.dead_bytes,
        );
        let counted = counters.clone();
        // A family that was never written to has no counters.
        let wrong = family.bad_counters || stored.clone().unwrap_or_default() != counted;
        if wrong {
            self.report.wrong_counters.add(WrongCounters {
                shard: family.shard,
                stored: stored.as_ref().map(count_of),
                counted: count_of(&counted),
            });
        }
        Surveyed {
            counters: counted,
            stored,
            wrong,
            actions: family.actions,
            complete: family.complete,
        }
    }

    /// Deleted and blocked contents that are not there as blobs count in the fingerprint.
    fn add_declined(&self, family: &mut Family<'_>) {
        let Some(declined) = self.elsewhere.declined.get(&family.shard) else {
            return;
        };
        for (name, digest) in declined {
            let key = name_key(prefix::META, name);
            let stored = self.db.get_pinned_cf(family.handle, key);
            if matches!(stored, Ok(None)) || family.unopened.contains(name) {
                family.counters.fingerprint.add(digest);
            }
        }
    }
}

fn count_of(counters: &Counters) -> Count {
    Count {
        blobs: counters.blobs,
        bytes: counters.bytes,
        sealed_bytes: counters.sealed_bytes,
        quarantined: counters.quarantined,
        retired: counters.retired,
        retired_bytes: counters.retired_bytes,
        fingerprint: counters.fingerprint,
    }
}
