//! What is kept is bounded, and what is dropped is counted.

use cybervault_correlation::Limits;
use cybervault_sigma::RulePack;

use crate::{Bench, pack};

const MINUTE: i64 = 60_000;

fn counting() -> RulePack {
    pack(
        "title: T\nid: T\ncorrelation: {type: event_count, rules: a, group-by: u, timespan: 5m, condition: {gte: 3}}\n",
    )
}

#[test]
fn a_tenant_that_makes_group_after_group_drops_its_own_and_nobody_elses() {
    let limits = Limits { tenant_bytes: 1 << 20, total_bytes: 4 << 20, ..Limits::default() };
    let mut bench = Bench::new(&counting(), limits);
    for user in 0..10 {
        let user = format!("u{user}");
        assert!(bench.take("quiet", "e", 0, &[0], &[("u", &user)]).is_empty());
        assert!(bench.take("quiet", "e", 1, &[0], &[("u", &user)]).is_empty());
    }
    for group in 0..60_000_i64 {
        bench.take("loud", "e", group % MINUTE, &[0], &[("u", &group.to_string())]);
    }
    for user in 0..10 {
        let user = format!("u{user}");
        assert_eq!(bench.take("quiet", "e", MINUTE, &[0], &[("u", &user)]), [format!("T u={user}")]);
    }
    let counts = bench.engine.counts();
    assert!(counts.evicted > 50_000 && counts.lapsed == 0, "{counts:?}");
    assert_eq!(counts.evicted + bench.engine.groups() as u64, 60_010);
    assert!(bench.engine.bytes() <= 2 << 20, "{}", bench.engine.bytes());
}

#[test]
fn where_all_are_too_many_the_largest_gives() {
    let limits = Limits { tenant_bytes: 1 << 30, total_bytes: 1 << 20, ..Limits::default() };
    let mut bench = Bench::new(&counting(), limits);
    for at in 0..2 {
        assert!(bench.take("small", "e", at, &[0], &[("u", "x")]).is_empty());
    }
    for group in 0..20_000_i64 {
        bench.take("large", "e", 0, &[0], &[("u", &group.to_string())]);
    }
    assert_eq!(bench.take("small", "e", 3, &[0], &[("u", "x")]), ["T u=x"]);
    assert!(bench.engine.bytes() <= 1 << 20 && bench.engine.counts().evicted > 10_000);
}

#[test]
fn groups_whose_time_is_over_are_no_loss() {
    let limits = Limits { tenant_bytes: 1 << 20, ..Limits::default() };
    let mut bench = Bench::new(&counting(), limits);
    for group in 0..50_000_i64 {
        bench.take("t", "e", group * MINUTE, &[0], &[("u", &group.to_string())]);
    }
    let counts = bench.engine.counts();
    assert!(counts.evicted == 0 && counts.lapsed > 40_000, "{counts:?}");
}

#[test]
fn a_group_keeps_the_newest_of_too_many_events() {
    let text = "title: T\ncorrelation: {type: value_count, rules: a, timespan: 1d, condition: {field: v, gte: 100}}\n";
    let mut bench = Bench::new(&pack(text), Limits::default());
    for at in 0..12_000 {
        bench.take("t", "e", at, &[0], &[("v", "same")]);
    }
    assert_eq!(bench.engine.counts().cut, 2_000);
    let found: Vec<_> =
        (0..99).flat_map(|at| bench.take("t", "e", 12_000 + at, &[0], &[("v", &at.to_string())])).collect();
    assert_eq!(found, ["T"]);
}

#[test]
fn an_event_with_more_values_than_are_taken_is_counted() {
    let text =
        "title: T\ncorrelation: {type: event_count, rules: a, group-by: [u, v], timespan: 1d, condition: {gte: 2}}\n";
    let mut bench = Bench::new(&pack(text), Limits::default());
    let values: Vec<_> = (0..20).map(|at| at.to_string()).collect();
    let values: Vec<_> = values.iter().flat_map(|value| [("u", value.as_str()), ("v", value.as_str())]).collect();
    bench.take("t", "e", 0, &[0], &values);
    assert_eq!((bench.engine.groups(), bench.engine.counts().combinations_cut), (64, 1));
}

/// A million groups of one tenant, as an attacker would make them, beside ten windows of another's.
#[test]
fn a_million_groups_of_one_tenant_leave_anothers_ten_windows_complete() {
    let limits = Limits { tenant_bytes: 8 << 20, total_bytes: 12 << 20, ..Limits::default() };
    let mut bench = Bench::new(&counting(), limits);
    let quiet = |bench: &mut Bench, time: i64| -> usize {
        let users = (0..10).map(|user| format!("u{user}"));
        users.map(|user| bench.take("quiet", "e", time, &[0], &[("u", &user)]).len()).sum()
    };
    assert_eq!(quiet(&mut bench, 0), 0);
    for group in 0..1_000_000_i64 {
        if group == 500_000 {
            assert_eq!(quiet(&mut bench, 1), 0);
        }
        bench.take("loud", "e", group % MINUTE, &[0], &[("u", &group.to_string())]);
    }
    assert_eq!(quiet(&mut bench, MINUTE), 10);
    assert!(bench.engine.counts().evicted > 900_000 && bench.engine.bytes() <= 12 << 20);
}
