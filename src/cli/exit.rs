//! What the program's exit codes mean: one table, from which the code, the help and a test of the
//! documentation are made.

use std::process::ExitCode;

/// How a command ended. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; for `status`: healthy.
    Done,
    /// Failed; for `status`: degraded.
    Failed,
    /// Wrong usage or settings; for `status`: unhealthy, or no node answers.
    Usage,
    /// No such blob.
    NotFound,
    /// No node answers, or the connection broke.
    Unreachable,
    /// The node wants a token, refuses this one, or refuses the blob.
    Refused,
    /// The bytes are not those of their CID.
    Integrity,
    /// Something stands in the way that the user can remove.
    Conflict,
    /// The node has too much to do at the moment.
    Busy,
    /// There is no room.
    Full,
    /// Stored, with fewer copies than asked for.
    FewerCopies,
    /// A proof or a receipt does not hold.
    NotProven,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl Exit {
    /// Every way to end, ascending.
    pub(crate) const ALL: [Self; 13] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::Unreachable,
        Self::Refused,
        Self::Integrity,
        Self::Conflict,
        Self::Busy,
        Self::Full,
        Self::FewerCopies,
        Self::NotProven,
        Self::Interrupted,
    ];

    /// The code and what it means.
    const fn row(self) -> (u8, &'static str) {
        match self {
            Self::Done => (0, "done; status: healthy"),
            Self::Failed => (
                1,
                "failed; status: degraded; doctor: something needs attention",
            ),
            Self::Usage => (
                2,
                "wrong usage, settings or input; status: unhealthy, or no node answers",
            ),
            Self::NotFound => (3, "no such blob on the node"),
            Self::Unreachable => (4, "no node answers, or the connection broke"),
            Self::Refused => (
                5,
                "the node asks for a token, does not accept this one, or its operator blocked the blob",
            ),
            Self::Integrity => (
                6,
                "bytes are not those of their CID, or stored data is damaged",
            ),
            Self::Conflict => (
                7,
                "something is in the way: file exists, blob pinned, shard of another node, directory in use",
            ),
            Self::Busy => (
                8,
                "the node is starting or has too much to do: try again later",
            ),
            Self::Full => (9, "no room: storage limit or disk reserve reached"),
            Self::FewerCopies => (
                10,
                "stored, with fewer copies than asked for when the time was up; the rest follow",
            ),
            Self::NotProven => (11, "a proof or a receipt does not hold"),
            Self::Interrupted => (130, "interrupted by Ctrl-C"),
        }
    }

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self.row().0
    }

    /// What it means, in a line.
    pub(crate) const fn meaning(self) -> &'static str {
        self.row().1
    }

    /// How a node's answer with this status, and the problem's code, ends the command.
    pub(crate) fn of_answer(status: u16, code: Option<&str>) -> Self {
        match (status, code) {
            (_, Some("damaged")) | (422, _) => Self::Integrity,
            // Neither is about the blob or passes by waiting.
            (_, Some("route_not_found" | "read_only")) => Self::Failed,
            (400 | 405 | 411 | 413 | 415 | 416, _) => Self::Usage,
            (401 | 403 | 451, _) => Self::Refused,
            (404, _) => Self::NotFound,
            (409 | 421, _) => Self::Conflict,
            (408 | 429 | 503 | 504, _) => Self::Busy,
            (507, _) => Self::Full,
            _ => Self::Failed,
        }
    }

    /// The table for `--help`.
    pub(crate) fn help() -> String {
        let rows = Self::ALL.map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning()));
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_none_is_used_twice() {
        assert!(
            Exit::ALL
                .map(Exit::code)
                .is_sorted_by(|one, next| one < next)
        );
    }

    #[test]
    fn answers_end_as_scripts_expect() {
        let expected = [
            (400, None, Exit::Usage),
            (401, Some("token_required"), Exit::Refused),
            (451, Some("blocked"), Exit::Refused),
            (404, Some("route_not_found"), Exit::Failed),
            (404, Some("blob_not_found"), Exit::NotFound),
            (409, Some("pinned"), Exit::Conflict),
            (421, Some("wrong_shard"), Exit::Conflict),
            (422, Some("cid_mismatch"), Exit::Integrity),
            (500, Some("damaged"), Exit::Integrity),
            (500, Some("store_failed"), Exit::Failed),
            (502, None, Exit::Failed),
            (503, Some("recovering"), Exit::Busy),
            (503, Some("read_only"), Exit::Failed),
            (507, Some("quota_reached"), Exit::Full),
            (507, Some("no_room_to_fetch"), Exit::Full),
        ];
        for (status, code, exit) in expected {
            assert_eq!(Exit::of_answer(status, code), exit, "{status} {code:?}");
        }
    }

    #[test]
    fn help_names_every_code() {
        let help = Exit::help();
        for exit in Exit::ALL {
            assert!(
                help.contains(&format!("{:>3}  {}", exit.code(), exit.meaning())),
                "{exit:?}"
            );
        }
    }
}
