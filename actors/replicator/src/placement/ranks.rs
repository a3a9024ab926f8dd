//! The first ranks of each shard, which do not depend on anybody's mood: whether a member accepts, is on
//! probation or failed an audit. Working them out is what costs: a hash for each member and shard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_core::{ShardCount, ShardId};

use super::{Member, draw};

/// Ranks of one shard that are kept: 256 bytes. Too low: a network of many full nodes ranks anew at each
/// change. Too high: memory, for each of up to 4,096 shards.
const KEPT: usize = 64;

/// The first ranks of each shard that was asked for.
#[derive(Debug, Default)]
pub(super) struct Ranks(Mutex<HashMap<ShardId, Arc<[u32]>>>);

/// The first of the members that keep a shard.
pub(super) struct First<'a> {
    /// Best first.
    pub(super) members: Vec<&'a Member>,
    /// Whether these are all of them.
    pub(super) is_all: bool,
}

impl Ranks {
    /// The first ranks of `shard`; always asked with members that rank alike.
    pub(super) fn first<'a>(
        &self,
        count: ShardCount,
        shard: ShardId,
        members: &'a [Member],
    ) -> First<'a> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ranks = known
            .entry(shard)
            .or_insert_with(|| first(count, shard, members));
        let ranked = ranks
            .iter()
            .filter_map(|at| members.get(usize::try_from(*at).ok()?));
        First {
            members: ranked.collect(),
            is_all: ranks.len() < KEPT,
        }
    }
}

/// Positions of the first ranks.
fn first(count: ShardCount, shard: ShardId, members: &[Member]) -> Arc<[u32]> {
    let mut drawn: Vec<_> = members
        .iter()
        .zip(0..)
        .filter(|(member, _)| member.shards.contains(shard))
        .map(|(member, at)| (draw(count, shard, member), member.peer, at))
        .collect();
    if drawn.len() > KEPT {
        drawn.select_nth_unstable(KEPT);
        drawn.truncate(KEPT);
    }
    drawn.sort_unstable();
    drawn.into_iter().map(|(.., at)| at).collect()
}
