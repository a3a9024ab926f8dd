//! Nodes that see the network differently never let go of more than they may: the deciding parts of whole
//! nodes, each with its own arbitrary view, in any order of events.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use bytecave_core::{ShardRange, ShardSet};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fakes::{count, peer};
use crate::placement::{Member, Unproved, Weight};

const NODES: usize = 4;
/// Shards without the one that is let go of.
const ELSEWHERE: ShardRange = ShardRange { start: 8, end: 15 };

/// How one node sees another.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is as it is, whatever the others are"
)]
struct Sight {
    known: bool,
    keeps: bool,
    accepting: bool,
    live: bool,
    capacity_bits: u32,
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A node begins to let go of its copy, or goes on: an answer of one of those it asked comes in.
    Step(usize),
    /// A node gives up waiting.
    GiveUp(usize),
    /// The network looks otherwise to a node: as to the other one.
    Look(usize, usize),
    /// A node is restarted between two steps.
    Restart(usize),
    /// A node fetches the blob, if anybody has it.
    Fetch(usize),
}

/// A copy on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    None,
    Here,
    /// Let go, and not yet for good.
    Retired,
    /// For good: what is on disk for the hold proves nothing, and does not count here.
    Gone,
}

struct Node {
    copy: Copy,
    view: Vec<Sight>,
    letting: Option<Letting>,
    /// Who answered in this stage.
    answered: usize,
}

struct World {
    factor: usize,
    nodes: Vec<Node>,
}

/// The peer ids, which take long to make.
fn node(at: usize) -> PeerId {
    static NODE_IDS: LazyLock<Vec<PeerId>> =
        LazyLock::new(|| (0..u8::try_from(NODES).unwrap()).map(peer).collect());
    NODE_IDS[at]
}

impl World {
    fn shard() -> ShardId {
        count().shard(3).unwrap()
    }

    fn placement(&self, at: usize) -> Placement {
        let seen = self.nodes[at].view.iter().enumerate();
        let members = seen.filter(|(other, sight)| sight.known || *other == at);
        let members = members.map(|(other, sight)| Member {
            peer: node(other),
            weight: Weight::of(1 << sight.capacity_bits),
            shards: if sight.keeps {
                ShardSet::all(count())
            } else {
                ShardSet::from_ranges(count(), &[ELSEWHERE]).unwrap()
            },
            accepting: sight.accepting,
            on_probation: false,
            unproved: Unproved::Nowhere,
        });
        Placement::new(count(), self.factor, members.collect())
    }

    fn provers(&self, at: usize) -> Option<Vec<PeerId>> {
        let view = &self.nodes[at].view;
        let live = |who: &PeerId| {
            let found = (0..NODES).find(|other| node(*other) == *who);
            found.is_some_and(|other| view[other].live)
        };
        provers(&self.placement(at), &node(at), Self::shard(), live)
    }

    fn at(who: &PeerId) -> usize {
        (0..NODES).find(|at| node(*at) == *who).unwrap()
    }

    /// What a store says to a challenge: what was retired has no leaves.
    fn proves(&self, who: &PeerId) -> bool {
        self.nodes[Self::at(who)].copy == Copy::Here
    }

    fn step(&mut self, at: usize) {
        if self.nodes[at].letting.is_none() {
            if self.nodes[at].copy == Copy::Here
                && let Some(needed) = self.provers(at)
            {
                assert!(!needed.contains(&node(at)));
                self.nodes[at].letting = Some(Letting::new(&needed));
                self.nodes[at].answered = 0;
            }
            return;
        }
        let mut letting = self.nodes[at].letting.take().unwrap();
        let asked = letting.needed()[self.nodes[at].answered];
        let proves = self.proves(&asked);
        self.nodes[at].answered += 1;
        match letting.heard(&asked, proves) {
            Next::Wait => self.nodes[at].letting = Some(letting),
            Next::Retire => {
                self.nodes[at].copy = Copy::Retired;
                self.nodes[at].answered = 0;
                letting.retired();
                self.nodes[at].letting = Some(letting);
            }
            Next::LetGo => self.nodes[at].copy = Copy::Gone,
            Next::Keep => self.keep(at),
        }
    }

    fn keep(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.letting = None;
        if node.copy == Copy::Retired {
            node.copy = Copy::Here;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(at) => self.step(at),
            Event::GiveUp(at) | Event::Restart(at) => self.keep(at),
            Event::Look(at, like) => self.nodes[at].view = self.nodes[like].view.clone(),
            Event::Fetch(at) => {
                let anywhere = self.copies() > 0;
                let node = &mut self.nodes[at];
                if anywhere && matches!(node.copy, Copy::None | Copy::Gone) {
                    node.copy = Copy::Here;
                }
            }
        }
    }

    /// Copies that were not let go for good.
    fn copies(&self) -> usize {
        let copies = self.nodes.iter().map(|node| node.copy);
        copies
            .filter(|copy| matches!(copy, Copy::Here | Copy::Retired))
            .count()
    }
}

fn sight() -> impl Strategy<Value = Sight> {
    let often = || prop::bool::weighted(0.9);
    (often(), often(), often(), often(), 20_u32..40).prop_map(
        |(known, keeps, accepting, live, capacity_bits)| Sight {
            known,
            keeps,
            accepting,
            live,
            capacity_bits,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0..NODES).prop_map(Event::Step),
        1 => (0..NODES).prop_map(Event::GiveUp),
        1 => (0..NODES, 0..NODES).prop_map(|(at, like)| Event::Look(at, like)),
        1 => (0..NODES).prop_map(Event::Restart),
        1 => (0..NODES).prop_map(Event::Fetch),
    ]
}

fn world(factor: usize, copies: Vec<bool>, views: Vec<Vec<Sight>>) -> World {
    let nodes = copies.into_iter().zip(views);
    let nodes = nodes.map(|(has, view)| Node {
        copy: if has { Copy::Here } else { Copy::None },
        view,
        letting: None,
        answered: 0,
    });
    World {
        factor,
        nodes: nodes.collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Whatever each thinks of members, weights, who is full and who is live, and in whatever order they act.
    #[test]
    fn of_what_is_let_go_as_many_copies_stay_as_there_shall_be(
        factor in 1..4_usize,
        copies in vec(prop::bool::weighted(0.9), NODES),
        views in vec(vec(sight(), NODES), NODES),
        events in vec(event(), 1..200),
    ) {
        let mut world = world(factor, copies, views);
        let mut before = world.copies();
        for event in events {
            world.happen(event);
            let now = world.copies();
            // Each copy that goes leaves enough; where there never were so many, none goes.
            prop_assert!(now >= before || now >= factor, "{before} copies became {now}");
            before = now;
        }
    }

    /// Of two nodes with any two views, that have as many copies beside them as there shall be, less one.
    #[test]
    fn of_two_that_think_the_other_the_better_never_do_both_let_go(
        factor in 1..4_usize,
        views in vec(vec(sight(), NODES), 2),
        order in vec(0..2_usize, 1..60),
    ) {
        let mut copies = vec![false; NODES];
        copies[..=factor].fill(true);
        let mut views = views;
        for sight in views.iter_mut().flat_map(|view| view.iter_mut().skip(factor + 1)) {
            sight.known = false;
        }
        let others = views[0].clone();
        views.resize(NODES, others);
        let mut world = world(factor, copies, views);
        for at in order {
            world.happen(Event::Step(at));
        }
        prop_assert!(world.copies() >= factor);
        let gone = |at: usize| world.nodes[at].copy == Copy::Gone;
        prop_assert!(!(gone(0) && gone(1)));
    }
}

/// Why the second question: with the first alone both would let go.
#[test]
fn both_may_begin_and_one_at_most_goes_through() {
    let large = |of: usize| {
        let sights = (0..NODES).map(|at| Sight {
            known: at < 2,
            keeps: true,
            accepting: true,
            live: true,
            capacity_bits: if at == of { 39 } else { 20 },
        });
        sights.collect::<Vec<_>>()
    };
    let mut copies = vec![false; NODES];
    copies[..2].fill(true);
    let views = (0..NODES).map(|at| large(usize::from(at == 0))).collect();
    let mut world = world(1, copies, views);
    for at in [0, 1] {
        let other = node(1 - at);
        assert_eq!(world.provers(at), Some(vec![other]), "it thinks so");
    }
    // Both begin, both are answered, and both retire.
    for at in [0, 1] {
        world.happen(Event::Step(at));
    }
    let mut first = world.nodes[0].letting.clone().unwrap();
    assert_eq!(first.heard(&peer(1), world.proves(&peer(1))), Next::Retire);
    world.happen(Event::Step(1));
    assert_eq!(world.nodes[1].copy, Copy::Retired);
    first.retired();
    world.nodes[0].copy = Copy::Retired;
    world.nodes[0].letting = Some(first);
    world.nodes[0].answered = 0;
    // At this moment neither would prove anything to the other, so neither goes on: one takes back what it
    // retired, and only then the other may.
    assert!((0..2).all(|at| !world.proves(&node(at))));
    world.happen(Event::Step(0));
    assert_eq!(world.nodes[0].copy, Copy::Here);
    world.happen(Event::Step(1));
    assert_eq!(world.nodes[1].copy, Copy::Gone);
    assert_eq!(world.copies(), 1);
    for at in [0, 0, 1, 1] {
        world.happen(Event::Step(at));
    }
    assert_eq!(world.copies(), 1, "the last one stays");
}
