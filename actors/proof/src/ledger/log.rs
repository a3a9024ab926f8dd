//! The file of audits: one JSON line for each, appended. Files only; whoever calls is on a thread that may be
//! held up.
//!
//! A crash may tear the last line: it is passed over, and what follows begins on a line of its own. When the file
//! has twice the lines that are kept, or is longer than those can be, it is written anew.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytecave_messages::proof::AuditRecord;
use bytecave_messages::state_file::{make_directory, open, replace, set_aside};

/// Longest line that is read or written: the largest proof as evidence is 160 KiB.
const LINE_MAX_BYTES: usize = 256 << 10;
/// What one line may have on average, before the file is written anew; without evidence it has at most 1.5 KiB.
const LINE_BYTES: u64 = 2 << 10;
/// What evidence may have beside that: twice what is kept of it.
const EVIDENCE_BYTES: u64 = 96 << 20;

/// The file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Audits that are kept.
    limit: usize,
    lines: usize,
    bytes: u64,
    /// Whether the last line may have no end.
    torn: bool,
    /// Whether the last write failed, which is said once.
    failing: bool,
}

impl Log {
    pub(super) fn new(path: PathBuf, limit: usize) -> Self {
        Self {
            path,
            limit,
            lines: 0,
            bytes: 0,
            torn: false,
            failing: false,
        }
    }

    /// Gives what stands in the file, the oldest first. What cannot be read never stops the start.
    pub(super) fn read(&mut self, mut each: impl FnMut(AuditRecord)) {
        let file = match open(&self.path) {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(error) => return set_aside(&self.path, "audits", &error.to_string()),
        };
        let mut lines = Lines(BufReader::new(file));
        let mut bad = 0_u64;
        loop {
            match lines.read_next() {
                Ok(None) => break,
                Ok(Some(line)) => {
                    self.lines += 1;
                    self.bytes += line.bytes;
                    self.torn = !line.ended;
                    match serde_json::from_slice(&line.text) {
                        Ok(record) => each(record),
                        // Left behind a write that failed.
                        Err(_) if line.text.is_empty() => {}
                        Err(_) => bad += 1,
                    }
                }
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "audits cannot be read to their end");
                    // The length is not known: it is written anew at the next opportunity.
                    self.bytes = u64::MAX;
                    self.torn = true;
                    break;
                }
            }
        }
        if bad > 0 {
            let path = self.path.display();
            tracing::warn!(%path, lines = bad, "lines of the file of audits were passed over");
        }
    }

    /// Appends these; whether that succeeded.
    pub(super) fn append(&mut self, records: &[Arc<AuditRecord>]) -> bool {
        let written = self.try_append(records);
        self.torn = written.is_err();
        self.told(written)
    }

    fn try_append(&mut self, records: &[Arc<AuditRecord>]) -> io::Result<()> {
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        for record in records {
            text.extend(line(record)?);
        }
        make_directory(&self.path)?;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(&text)?;
        self.lines += records.len();
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        Ok(())
    }

    /// Whether it is time to write it anew.
    pub(super) fn is_too_long(&self) -> bool {
        let kept = u64::try_from(self.limit).unwrap_or(u64::MAX);
        let most = kept.saturating_mul(LINE_BYTES);
        self.lines > self.limit.saturating_mul(2)
            || self.bytes > most.saturating_add(EVIDENCE_BYTES)
    }

    /// Writes it anew, with these alone.
    pub(super) fn rewrite(&mut self, records: &[Arc<AuditRecord>]) {
        let mut bytes = 0;
        let written = replace(&self.path, |file| {
            let mut file = BufWriter::new(file);
            for record in records {
                let line = line(record)?;
                bytes += line.len() as u64;
                file.write_all(&line)?;
            }
            file.flush()
        });
        if self.told(written) {
            (self.lines, self.bytes, self.torn) = (records.len(), bytes, false);
        }
    }

    /// Brings it to the disk.
    pub(super) fn sync(&mut self) {
        let synced = match open(&self.path) {
            Ok(Some(file)) => file.sync_all(),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.told(synced);
    }

    fn told(&mut self, written: io::Result<()>) -> bool {
        if let Err(error) = &written
            && !self.failing
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot write audits down; a restart forgets them");
        }
        self.failing = written.is_err();
        written.is_ok()
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

/// A record as a line, without its evidence if it would be too long to be read again.
fn line(record: &AuditRecord) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    if line.len() >= LINE_MAX_BYTES {
        let mut without = record.clone();
        without.evidence = None;
        line = serde_json::to_vec(&without)?;
    }
    line.push(b'\n');
    Ok(line)
}

/// Lines of a file, of bounded length.
struct Lines<R>(BufReader<R>);

struct Line {
    /// Without its end; cut off when it is too long, and so no record.
    text: Vec<u8>,
    /// Bytes of the file.
    bytes: u64,
    /// Whether it has an end.
    ended: bool,
}

impl<R: Read> Lines<R> {
    fn read_next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let (mut bytes, mut ended) = (0, false);
        while !ended {
            let part = self.0.fill_buf()?;
            if part.is_empty() {
                break;
            }
            let end = part.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(part.len(), |at| at + 1);
            let room = LINE_MAX_BYTES.saturating_sub(text.len());
            let kept = end.unwrap_or(part.len()).min(room);
            text.extend(part.iter().take(kept));
            ended = end.is_some();
            bytes += taken as u64;
            self.0.consume(taken);
        }
        Ok((bytes > 0).then_some(Line { text, bytes, ended }))
    }
}

#[cfg(test)]
mod tests;
