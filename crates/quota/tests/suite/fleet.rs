//! Shares over a fleet: never more than the bound whatever becomes of the messages, and near to what one bucket that knows
//! all would admit where they come.

use proptest::prelude::*;

use crate::simulator::{Fleet, Quota, Random, Weather};

const PLAN: Quota = Quota { events: 100, bytes: 1_000_000, burst_percent: 15 };

fn fleet(quota: Quota, partitions: u32) -> Fleet {
    Fleet::new("acme", quota, partitions, Weather::FAIR, 7)
}

/// Sends `rate` events a second for `seconds`, each to the partition that `choose` names.
fn send(fleet: &mut Fleet, rate: u64, seconds: u64, mut choose: impl FnMut(&mut Fleet, usize) -> usize) {
    let mut owed = 0;
    for n in 0..usize::try_from(seconds * 1_000).unwrap() {
        owed += rate;
        while owed >= 1_000 {
            owed -= 1_000;
            let partition = choose(fleet, n);
            fleet.send(partition, 100);
        }
        fleet.pass(1);
    }
}

fn held_back(fleet: &Fleet, quota: Quota, partitions: u32) {
    // One event a partition may be more than its part of the burst.
    let events = i128::from(partitions) * 1_000_000 / i128::from(quota.events);
    let overshoot = fleet.worst_overshoot(quota);
    assert!(overshoot <= events, "{overshoot} us beyond the bound");
}

#[test]
fn a_sole_sender_gets_its_rate_on_any_partition() {
    for partitions in [1, 2, 12, 64] {
        for n in [0, 5] {
            let mut fleet = fleet(PLAN, partitions);
            let at = fleet.away_from_home(n);
            send(&mut fleet, 400, 30, |_, _| at);
            let (admitted, allowed) = (fleet.admitted.len(), 30 * 100);
            assert!(admitted * 100 >= allowed * 95, "{partitions} partitions: {admitted} of {allowed}");
            held_back(&fleet, PLAN, partitions);
        }
    }
}

#[test]
fn a_flood_gets_its_rate_however_it_is_spread() {
    for (partitions, rate) in [(2, 100), (12, 200), (64, 1_000)] {
        for kind in 0..3 {
            let quota = Quota { events: rate, ..PLAN };
            let mut fleet = fleet(quota, partitions);
            let mut random = Random(3);
            let count = partitions as usize;
            send(&mut fleet, rate * 3, 30, |fleet, n| match kind {
                0 => n % count,
                1 => random.pick(count),
                _ if random.percent(90) => fleet.away_from_home(1),
                _ => random.pick(count),
            });
            let (admitted, messages) = (fleet.admitted.len() as u64, fleet.messages);
            let told = format!("{partitions} partitions, kind {kind}: {admitted} admitted, {messages} messages");
            assert!(admitted * 100 >= rate * 30 * 95, "{told}");
            held_back(&fleet, quota, partitions);
        }
    }
}

#[test]
fn within_its_quota_a_tenant_loses_nothing_beyond_the_first_second_however_its_events_are_spread() {
    // Of fewer events than a few a partition, chance decides: such a burst can't be split.
    for (partitions, rate) in [(2, 100), (12, 100), (64, 1_000)] {
        for kind in 0..4 {
            let quota = Quota { events: rate, ..PLAN };
            let (rate, mut fleet) = (rate * 9 / 10, fleet(quota, partitions));
            let mut random = Random(3);
            let count = partitions as usize;
            send(&mut fleet, rate, 30, |fleet, n| match kind {
                0 => (n / 11) % count,
                1 => random.pick(count),
                // Nine of ten from one host.
                2 if random.percent(90) => fleet.away_from_home(1),
                2 => random.pick(count),
                _ => fleet.away_from_home(0),
            });
            let first = fleet.now - 29_000;
            let late = fleet.rejected.iter().filter(|at| **at > first).count() as u64;
            let (admitted, messages) = (fleet.admitted.len() as u64, fleet.messages);
            let told =
                format!("{partitions} partitions, kind {kind}: {late} late, {admitted} admitted, {messages} messages");
            assert!(late * 100 <= rate * 30 && admitted * 100 >= rate * 30 * 97, "{told}");
            held_back(&fleet, quota, partitions);
        }
    }
}

#[test]
fn shares_follow_a_sender_that_moves() {
    let mut fleet = fleet(PLAN, 12);
    send(&mut fleet, 90, 60, |fleet, n| fleet.away_from_home(n / 10_000));
    let admitted = fleet.admitted.len();
    // Each of the six times costs about half a second.
    assert!(admitted * 100 >= 90 * 60 * 93, "{admitted} of {}", 90 * 60);
    held_back(&fleet, PLAN, 12);
}

#[test]
fn without_an_owner_a_partition_keeps_what_it_has() {
    let mut fleet = fleet(PLAN, 12);
    let at = fleet.away_from_home(3);
    send(&mut fleet, 90, 10, |_, _| at);
    fleet.is_owner_away = true;
    let before = fleet.admitted.len();
    send(&mut fleet, 90, 60, |_, _| at);
    assert_eq!(fleet.admitted.len() - before, 90 * 60);
    // Another one has its floor.
    let (other, before) = (fleet.away_from_home(4), fleet.admitted.len());
    send(&mut fleet, 50, 60, |_, _| other);
    let floor = fleet.admitted.len() - before;
    assert!((8..=14).contains(&floor), "{floor}");
    held_back(&fleet, PLAN, 12);
}

#[test]
fn a_partition_that_was_down_judges_its_backlog_by_the_share_it_has() {
    let mut fleet = fleet(PLAN, 12);
    let at = fleet.away_from_home(3);
    send(&mut fleet, 90, 10, |_, _| at);
    fleet.set_down(at, true);
    send(&mut fleet, 90, 600, |_, _| at);
    let before = fleet.admitted.len();
    fleet.set_down(at, false);
    assert_eq!(fleet.admitted.len() - before, 90 * 600);
    held_back(&fleet, PLAN, 12);
}

/// A hundredth of the tenants floods; each has its own way to spread. What was rejected of those within their quotas, in
/// the seconds after the first two, of how many.
fn many(tenants: u64, partitions: u32) -> (usize, usize) {
    let (mut rejected, mut of) = (0, 0);
    for tenant in 0..tenants {
        let mut fleet = Fleet::new("acme", PLAN, partitions, Weather::FAIR, tenant);
        let is_flood = tenant % 100 == 0;
        let mut random = Random(tenant);
        send(&mut fleet, if is_flood { 10_000 } else { 90 }, 4, |fleet, _| match tenant % 3 {
            0 => fleet.away_from_home(0),
            1 => fleet.away_from_home(random.pick(12)),
            _ => fleet.away_from_home(random.pick(3)),
        });
        held_back(&fleet, PLAN, partitions);
        if !is_flood {
            let first = fleet.now - 2_000;
            rejected += fleet.rejected.iter().filter(|at| **at > first).count();
            of += 2 * 90;
        }
    }
    (rejected, of)
}

#[test]
fn many_tenants_on_many_workers_get_what_is_theirs() {
    let (rejected, of) = many(300, 64);
    assert!(rejected * 50 <= of, "{rejected} of {of}");
}

#[test]
#[ignore = "the same with 10,000 tenants takes minutes"]
fn ten_thousand_tenants_on_sixty_four_workers_get_what_is_theirs() {
    let (rejected, of) = many(10_000, 64);
    println!("10,000 tenants, 64 partitions: {rejected} of {of} events of tenants within their quotas rejected");
    assert!(rejected * 50 <= of, "{rejected} of {of}");
}

#[derive(Clone, Debug)]
enum Step {
    /// So many events within so many milliseconds on some partitions, from one on.
    Send {
        events: u64,
        millis: u64,
        first: usize,
        over: usize,
        bytes: u64,
    },
    Down {
        partition: usize,
        is_down: bool,
    },
    Owner {
        is_away: bool,
    },
    Skew {
        partition: usize,
        millis: i64,
    },
    Sleep {
        millis: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..600u64, 1..2_000u64, 0..20usize, 1..20usize, prop_oneof![8 => 1..2_000u64, 1 => Just(30_000)])
            .prop_map(|(events, millis, first, over, bytes)| Step::Send { events, millis, first, over, bytes }),
        2 => (0..20usize, any::<bool>()).prop_map(|(partition, is_down)| Step::Down { partition, is_down }),
        1 => any::<bool>().prop_map(|is_away| Step::Owner { is_away }),
        1 => (0..20usize, 0..5_000i64).prop_map(|(partition, millis)| Step::Skew { partition, millis }),
        1 => (0..2_000_000i64).prop_map(|millis| Step::Sleep { millis }),
    ]
}

fn weather() -> impl Strategy<Value = Weather> {
    (0..50u64, 1..3_000u64, 0..60u64, 0..50u64).prop_map(|(least, more, lost_percent, repeated_percent)| Weather {
        latency: (least, least + more),
        lost_percent,
        repeated_percent,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_stretch_of_time_admits_more_than_the_bound_whatever_becomes_of_messages_workers_and_clocks(
        (partitions, seed, weather) in (1..20u32, any::<u64>(), weather()),
        (events, bytes, burst_percent) in (20..500u64, 10_000..200_000u64, 0..50u32),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let quota = Quota { events, bytes, burst_percent };
        let mut fleet = Fleet::new("acme", quota, partitions, weather, seed);
        let count = partitions as usize;
        let mut largest = 1;
        for step in steps {
            match step {
                Step::Send { events, millis, first, over, bytes } => {
                    largest = largest.max(bytes);
                    let mut owed = 0;
                    for n in 0..usize::try_from(millis).unwrap() {
                        owed += events;
                        while owed >= millis {
                            owed -= millis;
                            fleet.send((first + n % over) % count, bytes);
                        }
                        fleet.pass(1);
                    }
                }
                Step::Down { partition, is_down } => fleet.set_down(partition % count, is_down),
                Step::Owner { is_away } => fleet.is_owner_away = is_away,
                Step::Skew { partition, millis } => fleet.skew(partition % count, millis),
                Step::Sleep { millis } => fleet.sleep(millis),
            }
        }
        (0..count).for_each(|partition| fleet.set_down(partition, false));
        // One event may be larger than a partition's part of the burst: it is taken by an empty bucket.
        let events = i128::from(partitions) * 1_000_000 / i128::from(quota.events);
        let bytes = i128::from(partitions) * i128::from(largest) * 1_000_000 / i128::from(quota.bytes);
        let overshoot = fleet.worst_overshoot(quota);
        prop_assert!(overshoot <= events.max(bytes), "{} us beyond the bound of {}", overshoot, events.max(bytes));
    }
}

/// The table in docs/quotas.md.
#[test]
#[ignore = "prints a table for the docs"]
fn a_table_for_the_docs() {
    let kinds = ["one partition, not home", "in turn", "at random", "nine in ten on one"];
    for (partitions, rate) in [(12, 100), (64, 100), (64, 1_000)] {
        for (kind, name) in kinds.iter().enumerate() {
            let quota = Quota { events: rate, ..PLAN };
            let mut fleet = fleet(quota, partitions);
            let (mut random, count) = (Random(3), partitions as usize);
            send(&mut fleet, rate * 9 / 10, 30, |fleet, n| match kind {
                0 => fleet.away_from_home(0),
                1 => (n / 11) % count,
                3 if random.percent(90) => fleet.away_from_home(1),
                _ => random.pick(count),
            });
            let first = fleet.now - 29_000;
            let late = fleet.rejected.iter().filter(|at| **at > first).count();
            let (admitted, sent) = (fleet.admitted.len(), rate * 27);
            println!("| {rate}/s, {partitions} | {name} | {admitted} of {sent} | {late} | {} |", fleet.messages);
        }
    }
}

/// docs/quotas-follow.svg: what each of four partitions admits while a sender at the whole rate moves.
#[test]
#[ignore = "draws a plot for the docs"]
fn a_plot_for_the_docs() {
    let mut fleet = fleet(PLAN, 12);
    let places: Vec<usize> = (0..4).map(|n| fleet.away_from_home(n)).collect();
    let mut columns: Vec<Vec<usize>> = Vec::new();
    let mut owed = 0;
    for n in 0..40_000usize {
        if n % 500 == 0 {
            columns.push(vec![0; 5]);
        }
        owed += 100;
        if owed >= 1_000 {
            owed -= 1_000;
            // On one, on another, on four in turn, a flood on four at three times the rate.
            let times = if n >= 30_000 { 3 } else { 1 };
            for k in 0..times {
                let place = match n / 10_000 {
                    0 => 0,
                    1 => 1,
                    _ => (n / 10 + k) % 4,
                };
                let before = fleet.admitted.len();
                fleet.send(places[place], 100);
                let column = columns.last_mut().unwrap();
                column[if fleet.admitted.len() > before { place } else { 4 }] += 1;
            }
        }
        fleet.pass(1);
    }
    let line = |which: usize| {
        let points = columns.iter().enumerate().map(|(at, column)| {
            let (x, y) = (50 + at * 8, 260 - (column[which] * 2).min(240));
            format!("{x},{y}")
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let colours = ["#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#d62728"];
    let names = ["partition 1", "partition 2", "partition 3", "partition 4", "rejected"];
    let lines: String = (0..5)
        .map(|which| {
            let (colour, name, x) = (colours[which], names[which], 60 + which * 120);
            format!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\
                 <text x=\"{x}\" y=\"310\" fill=\"{colour}\">{name}</text>\n",
                line(which)
            )
        })
        .collect();
    let ticks: String = [0, 50, 100]
        .iter()
        .map(|rate| {
            let y = 260 - rate;
            format!("<path d=\"M50 {y}h640\" stroke=\"#ddd\"/><text x=\"10\" y=\"{}\">{rate}</text>\n", y + 4)
        })
        .collect();
    let seconds: String =
        (0..=4).map(|n| format!("<text x=\"{}\" y=\"280\">{} s</text>\n", 50 + n * 160, n * 10)).collect();
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 320\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"720\" height=\"320\" fill=\"#fff\"/><text x=\"10\" y=\"16\">events/s; the plan has 100</text>\n\
         {ticks}{seconds}{lines}</svg>\n"
    );
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/quotas-follow.svg");
    std::fs::write(docs, svg).unwrap();
    held_back(&fleet, PLAN, 12);
}
