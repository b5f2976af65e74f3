//! Signals that go to where they meet find what one engine finds that sees all events whole.

use cybervault_correlation::{FieldValues, Limits, Signal};
use proptest::prelude::*;

use crate::{Bench, named, pack};

#[derive(Clone, Debug)]
struct Event {
    users: Vec<u8>,
    hosts: Vec<u8>,
    rules: u8,
    time: i64,
}

fn event() -> impl Strategy<Value = Event> {
    let some = || prop::collection::vec(0..3_u8, 0..3);
    (some(), some(), 1..16_u8, 0..120_000_i64).prop_map(|(users, hosts, rules, time)| Event {
        users,
        hosts,
        rules,
        time,
    })
}

/// Chains whose groups have all, some and none of their fields in common; by aliases, too; and a temporal one that looks at what is not.
const CHAINS: [(&str, &[usize]); 5] = [
    (
        "title: O\nid: o\ncorrelation: {type: temporal, rules: [i, b], group-by: u, timespan: 30s}\n---\n\
      title: I\nid: i\ncorrelation: {type: event_count, rules: a, group-by: u, timespan: 20s, condition: {gte: 2}}\n",
        &[1, 1],
    ),
    (
        "title: O\nid: o\ncorrelation: {type: temporal, group-by: u, timespan: 30s, condition: b and not i}\n---\n\
      title: I\nid: i\ncorrelation: {type: event_count, rules: a, group-by: [h, u], timespan: 20s, condition: {gte: 2}}\n",
        &[1, 1],
    ),
    (
        "title: O\nid: o\ncorrelation: {type: event_count, rules: [i, c], group-by: h, timespan: 60s, condition: {gte: 2, lt: 9}}\n---\n\
      title: I\nid: i\ncorrelation: {type: value_count, rules: [a, b], group-by: u, timespan: 20s, condition: {field: h, gte: 2}}\n",
        &[0, 0],
    ),
    (
        "title: O\nid: o\ncorrelation: {type: temporal_ordered, rules: [i, c], group-by: who, timespan: 60s, aliases: {who: {i: u, c: h}}}\n---\n\
      title: I\nid: i\ncorrelation: {type: event_count, rules: [a, d], group-by: [u, h], timespan: 20s, condition: {gte: 2}}\n",
        &[1, 1],
    ),
    (
        "title: One\nid: one\ncorrelation: {type: event_count, rules: [a, b], group-by: [u, h], timespan: 20s, condition: {gte: 3}}\n---\n\
      title: All\nid: all\ncorrelation: {type: event_count, rules: [a, c], timespan: 5s, condition: {gte: 3}}\n",
        &[2, 0],
    ),
];

fn take(bench: &mut Bench, number: usize, event: &Event) -> Vec<String> {
    let texts = |prefix: char, values: &[u8]| values.iter().map(|value| format!("{prefix}{value}")).collect::<Vec<_>>();
    // Names that differ in case alone are the same, and those of a user and a host may be.
    let (users, hosts) = (texts('n', &event.users), texts('N', &event.hosts));
    let users = users.iter().map(|user| ("u", user.as_str()));
    let fields: Vec<_> = users.chain(hosts.iter().map(|host| ("h", host.as_str()))).collect();
    let rules: Vec<_> = (0..4).filter(|rule| event.rules >> rule & 1 == 1).collect();
    bench.take("t", &format!("e{number}"), event.time, &rules, &fields)
}

/// The same by way of signals: each to the one of three engines where it belongs, with no more than it needs there.
fn take_apart(front: &mut Bench, places: &mut [Bench], number: usize, event: &Event) -> Vec<String> {
    take(front, number, event);
    let rules: Vec<_> = (0..4).filter(|rule| event.rules >> rule & 1 == 1).collect();
    let id = format!("e{number}");
    let signal =
        Signal { tenant: "t", event_id: &id, time: event.time, rules: &rules, fields: &front.fields, meets: None };
    let (meetings, is_cut) = front.plan.meetings(&signal);
    assert!(!is_cut);
    let mut found = Vec::new();
    for meeting in meetings {
        let meets: Vec<String> = meeting.values.iter().map(|value| front.fields.folded(*value).to_owned()).collect();
        let mut needed = Vec::new();
        front.plan.needed(meeting.rules.iter().copied(), &mut needed);
        let mut fields = FieldValues::default();
        for field in needed {
            front.fields.values(field).for_each(|(text, number)| fields.push(field, text, number));
        }
        let at = meets.iter().flat_map(|value| value.bytes()).map(usize::from).sum::<usize>() % places.len();
        let signal = Signal { rules: &meeting.rules, fields: &fields, meets: Some(&meets), ..signal };
        places[at].engine.take(&signal, &mut |finding| found.push(named(finding)));
    }
    found
}

proptest! {
    #[test]
    fn where_signals_meet_everything_is_found(
        chain in 0..CHAINS.len(), events in prop::collection::vec(event(), 1..80), in_order in any::<bool>(),
    ) {
        let mut events = events;
        if in_order {
            events.sort_by_key(|event| event.time);
        }
        let pack = pack(CHAINS[chain].0);
        let mut whole = Bench::new(&pack, Limits::default());
        let mut front = Bench::new(&pack, Limits::default());
        let mut places = [(); 3].map(|()| Bench::new(&pack, Limits::default()));
        for (number, event) in events.iter().enumerate() {
            let (mut expected, mut found) = (take(&mut whole, number, event), take_apart(&mut front, &mut places, number, event));
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, expected, "event {}", number);
        }
    }
}

#[test]
fn what_meets_is_what_all_groups_of_a_chain_have_in_common() {
    for (text, expected) in CHAINS {
        let mut bench = Bench::new(&pack(text), Limits::default());
        let event = Event { users: vec![1], hosts: vec![2], rules: 15, time: 0 };
        take(&mut bench, 0, &event);
        let rules = [0, 1, 2, 3];
        let signal = Signal { tenant: "t", event_id: "e", time: 0, rules: &rules, fields: &bench.fields, meets: None };
        let (meetings, _) = bench.plan.meetings(&signal);
        let mut found: Vec<_> = bench.plan.correlations().map(|_| usize::MAX).collect();
        for meeting in meetings {
            meeting.correlations.iter().for_each(|at| found[*at] = meeting.values.len());
        }
        assert_eq!(found, expected, "{text}");
    }
}
