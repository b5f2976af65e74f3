//! What an engine holds, kept beyond it and read back.

use std::{collections::BTreeMap, sync::Arc};

use cybervault_correlation::{Counts, Engine, Keep, Limits, Moment, Plan, Restored, Signal};
use cybervault_sigma::RulePack;
use proptest::prelude::*;

use crate::{Bench, named, pack};

/// Keys and values, as a topic that keeps the last of each has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Book(BTreeMap<Vec<u8>, Vec<u8>>);

impl Keep for Book {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key).unwrap();
    }
}

impl Book {
    fn entries(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

#[derive(Clone, Debug)]
struct Step {
    tenant: u8,
    user: u8,
    value: i32,
    rules: u8,
    time: i64,
    /// Until the signal is written, after the one before.
    pause: i64,
    /// The process is killed before this step.
    is_killed: bool,
}

const TEXT: &str = "title: Count
id: count
name: count
correlation: {type: event_count, rules: a, group-by: u, timespan: 1m, condition: {gte: 3, lte: 60}}
---
title: Distinct
id: distinct
correlation: {type: value_count, rules: [a, b], group-by: u, timespan: 1h, condition: {field: v, gte: 4}}
---
title: Sum
id: sum
correlation: {type: value_sum, rules: b, timespan: 5m, condition: {field: v, gt: 50}}
---
title: Then
id: then
generate: true
correlation: {type: temporal_ordered, rules: [count, b], group-by: u, timespan: 10m}
";

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![8 => 0..5_000_i64, 1 => Just(8_000_000)];
    (0..3_u8, 0..12_u8, -5..30_i32, 1..4_u8, 0..400_000_i64, pause, prop::bool::weighted(0.1)).prop_map(
        |(tenant, user, value, rules, time, pause, is_killed)| Step {
            tenant,
            user,
            value,
            rules,
            time,
            pause,
            is_killed,
        },
    )
}

fn bench(pack: &RulePack, tenant_bytes: usize) -> Bench {
    Bench::new(pack, Limits { tenant_bytes, total_bytes: 2 * tenant_bytes, lateness_ms: 60_000, idle_ms: 60_000 })
}

fn take(bench: &mut Bench, book: &mut Book, number: usize, step: &Step, written: i64) -> Vec<String> {
    let (user, value) = (format!("u{}", step.user), step.value.to_string());
    bench.set_fields(&[("u", &user), ("v", &value)]);
    let rules: Vec<_> = (0..2).filter(|rule| step.rules >> rule & 1 == 1).collect();
    let (tenant, id) = (format!("t{}", step.tenant), format!("e{number}"));
    let fields = &bench.fields;
    let signal = Signal { tenant: &tenant, event_id: &id, time: step.time, rules: &rules, fields, meets: None };
    let moment = Moment { offset: number as u64, written };
    let mut found = Vec::new();
    bench.engine.take_from_log(&signal, moment, book, &mut |finding| {
        let events: Vec<_> = finding.events.iter().map(|event| (&event.event_id, event.time, &event.value)).collect();
        found.push(format!("{} {} {events:?}", named(finding), finding.time));
    });
    found
}

proptest! {
    /// With hardly any room, so that much is dropped: what is found, dropped and kept does not depend on when the process was killed.
    #[test]
    fn an_engine_that_is_killed_goes_on_as_if_it_had_not_been(
        steps in prop::collection::vec(step(), 1..400), tenant_bytes in 2_000..20_000_usize, slow in any::<bool>(),
    ) {
        let pack = pack(TEXT);
        let (mut whole, mut killed) = (bench(&pack, tenant_bytes), bench(&pack, tenant_bytes));
        let (mut kept, mut book) = (Book::default(), Book::default());
        let mut written = 1_700_000_000_000;
        for (number, step) in steps.iter().enumerate() {
            written += if slow { step.pause } else { 1 };
            if step.is_killed {
                killed = bench(&pack, tenant_bytes);
                let restored = if number % 2 == 0 {
                    killed.engine.restore(book.entries())
                } else {
                    killed.engine.restore(book.entries().rev())
                };
                prop_assert_eq!(restored, Restored { groups: whole.engine.groups(), ..Restored::default() });
            }
            let found = take(&mut killed, &mut book, number, step, written);
            prop_assert_eq!(found, take(&mut whole, &mut kept, number, step, written));
            prop_assert_eq!(killed.engine.bytes(), whole.engine.bytes());
        }
        prop_assert_eq!(book, kept);
    }
}

/// A window of more entries than lie together, with late ones, too.
#[test]
fn a_large_window_is_kept_in_parts_of_which_an_event_changes_one() {
    let pack = pack(TEXT);
    let (mut bench, mut book) = (bench(&pack, 1 << 20), Book::default());
    let event = |number: usize, time: i64| Step {
        tenant: 0,
        user: 0,
        value: i32::try_from(number % 7).unwrap(),
        rules: 1,
        time,
        pause: 0,
        is_killed: false,
    };
    for number in 0..1_000 {
        let late = if number % 50 == 7 { 20_000 } else { 0 };
        let before = book.clone();
        let time = 100 * i64::try_from(number).unwrap() - late;
        take(&mut bench, &mut book, number, &event(number, time), 0);
        let changed = book.0.iter().filter(|(key, value)| before.0.get(*key) != Some(value)).count();
        // Two groups, each with its head, perhaps with a part that is full, and that of the chain; and the minute at the beginning.
        assert!(changed <= if late == 0 { 6 } else { 30 }, "{changed} of {}", book.0.len());
        if number % 100 == 99 {
            bench.engine = restored(&bench, &pack, &book, 1);
        }
    }
    assert!(book.0.len() > 20, "{}", book.0.len());
}

fn restored(bench: &Bench, pack: &RulePack, book: &Book, least: usize) -> Engine {
    let titles = pack.rules.iter().map(|rule| rule.meta.title.as_str());
    let mut engine = Engine::new(bench.plan.clone(), titles, Limits::default());
    let restored = engine.restore(book.entries());
    assert!(restored.groups >= least && restored.keys.is_empty(), "{restored:?}");
    engine
}

#[test]
fn windows_of_correlations_that_stayed_the_same_stay() {
    let (mut bench, mut book) = (bench(&pack(TEXT), 1 << 20), Book::default());
    let event = Step { tenant: 0, user: 1, value: 1, rules: 1, time: 0, pause: 0, is_killed: false };
    for number in 0..2 {
        assert!(take(&mut bench, &mut book, number, &event, 0).is_empty());
    }
    // Another title, another rule before all others, and another condition of one.
    let changed = TEXT.replace("title: Count", "title: Counted").replace("gte: 4", "gte: 5");
    let other =
        "title: First\nid: first\ncorrelation: {type: event_count, rules: c, timespan: 1m, condition: {gte: 2}}\n";
    let changed = pack(&format!("{other}---\n{changed}"));
    let plan = Arc::new(Plan::compile(&changed));
    let titles: Vec<_> = changed.rules.iter().map(|rule| rule.meta.title.as_str()).collect();
    let before = book.0.len();
    assert_eq!(bench.engine.change_plan(plan.clone(), titles.clone(), &mut book), 1);
    assert_eq!((bench.engine.groups(), book.0.len()), (1, before - 1));
    bench.plan = plan.clone();
    let found = take(&mut bench, &mut book, 2, &event, 0);
    assert!(found[0].starts_with("Counted u=u1"), "{found:?}");
    // Read back into a plan without it, it is told of.
    let mut engine = Engine::new(Arc::new(Plan::compile(&pack(other))), ["a"], Limits::default());
    let restored = engine.restore(book.entries());
    assert_eq!((restored.groups, restored.left, restored.broken), (0, 3, 0));
    assert_eq!(restored.keys.len() + 1, book.0.len());
}

#[test]
fn groups_of_which_nothing_comes_any_more_go_by_the_logs_own_time() {
    let (mut bench, mut book) = (bench(&pack(TEXT), 1 << 20), Book::default());
    let event = |user| Step { tenant: 0, user, value: 1, rules: 1, time: 0, pause: 0, is_killed: false };
    take(&mut bench, &mut book, 0, &event(1), 0);
    assert_eq!(bench.engine.groups(), 2);
    // The minute of `Count`, and one each for lateness and grace, have gone by; the hour of `Distinct` has not.
    take(&mut bench, &mut book, 1, &event(2), 4 * 60_000);
    assert_eq!((bench.engine.groups(), bench.engine.counts().lapsed), (3, 1));
    take(&mut bench, &mut book, 2, &event(2), 64 * 60_000);
    assert_eq!((bench.engine.groups(), bench.engine.counts().lapsed), (2, 3));
    assert_eq!(book.0.len(), 3);
}

/// Damage is an error or other windows, and nothing else.
#[test]
fn bytes_that_are_no_windows_are_told() {
    let pack = pack(TEXT);
    let (mut bench, mut book) = (bench(&pack, 1 << 20), Book::default());
    for number in 0..70 {
        let event = Step { tenant: 0, user: 1, value: 1, rules: 1, time: 0, pause: 0, is_killed: false };
        take(&mut bench, &mut book, number, &event, 0);
    }
    let restore = |book: &Book| {
        let mut engine = Engine::new(bench.plan.clone(), ["a"], Limits::default());
        let restored = engine.restore(book.entries());
        assert_eq!(engine.counts(), Counts::default());
        restored
    };
    // The third event has made `Count` true, which is what `Then` is over.
    assert_eq!(restore(&book).groups, 3);
    for (key, value) in &book.0 {
        if key == b"t" {
            continue;
        }
        for end in 0..value.len() {
            let mut damaged = book.clone();
            damaged.0.insert(key.clone(), value[..end].to_vec());
            let restored = restore(&damaged);
            assert_eq!((restored.groups, restored.broken), (2, 1), "{key:?} {end}");
        }
        for at in 0..value.len().min(200) {
            for bit in 0..8 {
                let mut damaged = book.clone();
                damaged.0.get_mut(key).unwrap()[at] ^= 1 << bit;
                restore(&damaged);
            }
        }
        let mut damaged = book.clone();
        damaged.0.remove(key);
        // Without its head, a group that has nothing else is just not there.
        let restored = restore(&damaged);
        assert_eq!(restored.groups, 2, "{key:?}");
        assert!(restored.broken == 1 || key[0] == b'g', "{key:?}");
    }
    book.0.insert(b"x".to_vec(), vec![1]);
    assert_eq!(restore(&book).keys, [b"x".to_vec()]);
}
