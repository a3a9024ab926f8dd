//! Named places where a test can make the process die or fail.
//!
//! They exist only with the cargo feature `failpoints`, which only test builds enable. The variable
//! `FAILPOINTS` sets them, in the syntax of the `fail` crate: `FAILPOINTS="ingest::after=panic"`. For a crash
//! without unwinding, the action `return` means "abort the process" at every point, as `kill -9` would.
//!
//! | point | between |
//! |---|---|
//! | `put::before-commit` | a small blob is hashed and sealed, its batch not begun |
//! | `commit::before-write` | a group's batch is complete, not written |
//! | `commit::after-write` | the group is written and as durable as configured, nobody was told |
//! | `large::before-finish` | all chunks of a large blob are in its file, the file is not closed |
//! | `large::before-intent` | the file is closed and synced, the intent not written |
//! | `ingest::before` | the intent is durable, the file not ingested |
//! | `ingest::after` | the file is in the database, the metadata not written |
//! | `large::before-answer` | the metadata is durable, nobody was told |
//! | `delete::before-commit` | a delete was asked for, its batch not begun |
//! | `drop::before-unlink` | the metadata is gone and the drop record durable, the file still there |
//! | `drop::after-unlink` | the file is gone, the drop record still there |
//! | `block::before-commit` | a block was asked for, its batch not begun |
//! | `transit::before-ingest` | the file of a blob in transit is closed and synced, not ingested |
//! | `transit::after-ingest` | the file is in the database, nobody was told |
//! | `transit::before-free` | nobody holds a blob in transit any more, its file is still there |
//! | `gc::before-off` | a family was compacted, its GC not yet switched off |
//! | `actor::put` | the actor has a put in hand, nothing was done for it; with `panic` the actor dies |
//! | `rotate::between-pages` | part of a family is sealed under the new key |

/// Marks a place named in the table above; nothing without the feature `failpoints`.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::engine::failpoint::reach($name)
    };
}

/// Marks a place named in the table above; nothing without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {
        ()
    };
}

pub(crate) use failpoint;

/// Does what `FAILPOINTS` asks for at this point. The variable is read at the first point that is
/// reached, and holds as long as the process.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str) {
    static ARMED: std::sync::Once = std::sync::Once::new();
    // A scenario that is dropped disarms its points.
    ARMED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    let _ = fail::eval::<(), _>(name, |_| std::process::abort());
}
