//! Small stories, each with what has to be told of it.

use cybervault_incident::{Added, Finding, Settings};
use cybervault_model::{IncidentChange as C, Severity, TenantId, Timestamp};

use crate::support::{Bench, HOUR, MINUTE, finding, telling};

#[test]
fn what_shares_a_host_or_an_account_within_the_gap_is_one_incident_and_a_person_could_have_named_it() {
    let mut bench = Bench::new(Settings::default());
    for (at, text) in [
        (0, r"phish@medium TA0001 host:WS-7.corp.example user:ACME\eve file:C:\mail.docm"),
        (5, r"shell@medium TA0002 host:ws-7 user:acme\EVE"),
        (90, r"dump@high TA0006 host:ws-7 user:ACME\eve"),
        (100, r"exec@high TA0008 host:fs-1 user:ACME\eve ip:10.0.0.7"),
        (130, "beacon@high TA0011 host:fs-1 ip:198.51.100.42"),
        (100, "other@high TA0002 host:ws-9 user:bob"),
    ] {
        bench.find(&finding(at * MINUTE, text));
    }
    let last = bench.last();
    let titles: Vec<&str> = last.iter().map(|incident| incident.title.as_str()).collect();
    assert_eq!(last.len(), 2, "{titles:?}");
    let story = last.iter().find(|incident| incident.findings == 5).unwrap();
    assert_eq!(
        story.title,
        r"Attack in 5 steps, initial access to command and control, on WS-7.corp.example and fs-1 by ACME\eve"
    );
    let tactics: Vec<&str> = story.tactics.iter().map(|tactic| &*tactic.tactic_id).collect();
    assert_eq!(tactics, ["TA0001", "TA0002", "TA0006", "TA0008", "TA0011"]);
    assert_eq!(story.severity, Severity::High);
    // Two findings of medium severity were kept quiet, and are told with the first that counts.
    let first = bench.told.iter().find(|incident| incident.incident_id == story.incident_id).unwrap();
    assert_eq!((first.changes.as_slice(), first.gained.len(), first.revision), (&[C::Opened][..], 3, 1));
    let other = last.iter().find(|incident| incident.findings == 1).unwrap();
    assert_eq!(other.title, "Rule other on ws-9 by bob");
}

#[test]
fn an_incident_is_told_again_for_something_new_and_not_for_repetition() {
    let mut bench = Bench::new(telling());
    let mut at = 0;
    for (text, changes) in [
        ("a@medium TA0002 host:h1 user:eve", &[C::Opened][..]),
        ("a@medium TA0002 host:h1 user:eve", &[]),
        ("a@medium TA0002 host:h1 user:eve file:x", &[]),
        ("b@medium TA0002 host:h1 user:eve", &[]),
        ("c@medium TA0006 host:h1 user:eve", &[C::Tactic]),
        ("c@medium TA0006 host:h2 user:eve", &[C::Host]),
        ("c@medium TA0006 host:h2 user:mallory", &[C::User]),
        ("a@high TA0002 host:h1 user:eve", &[C::Severity]),
        ("d@critical TA0040 host:h3 user:eve", &[C::Tactic, C::Host, C::Severity]),
        ("a@medium TA0002 host:h1 user:eve", &[]),
    ] {
        at += MINUTE / 2;
        let before = bench.told.len();
        bench.find(&finding(at, text));
        let told: Vec<_> = bench.told[before..].iter().map(|incident| incident.changes.clone()).collect();
        let expected: Vec<Vec<C>> = if changes.is_empty() { vec![] } else { vec![changes.to_vec()] };
        assert_eq!(told, expected, "{text}");
    }
    let revisions: Vec<u64> = bench.told.iter().map(|incident| incident.revision).collect();
    assert_eq!(revisions, [1, 2, 3, 4, 5, 6]);
    let gained: usize = bench.told.iter().map(|incident| incident.gained.len()).sum();
    assert_eq!(gained, 9);
}

#[test]
fn what_was_only_counted_is_told_along_after_a_while() {
    let mut bench = Bench::new(telling());
    for at in 0..9 {
        bench.find(&finding(at * MINUTE, "a@medium TA0002 host:h1"));
    }
    assert_eq!(bench.told.len(), 1);
    bench.wait_until(9 * MINUTE);
    assert_eq!(bench.told.len(), 1);
    bench.wait_until(11 * MINUTE);
    let last = bench.told.last().unwrap();
    assert_eq!(
        (bench.told.len(), last.changes.as_slice(), last.gained.len(), last.findings),
        (2, &[C::Counted][..], 8, 9)
    );
    let [entry] = &last.timeline[..] else { panic!("{:?}", last.timeline) };
    assert_eq!((entry.findings, entry.first_at.as_millis(), entry.last_at.as_millis()), (9, 0, 8 * MINUTE));
    // Nothing waits any more.
    bench.wait_until(HOUR);
    assert_eq!(bench.told.len(), 2);
}

#[test]
fn after_the_gap_it_is_another_incident_and_old_logs_do_not_meet_new_ones() {
    let mut bench = Bench::new(telling());
    let mut late = |at: i64, occurred_at: i64| {
        let mut finding = finding(at, "a@high TA0002 host:h1");
        finding.assessment_id = format!("ta_{occurred_at}");
        finding.occurred_at = Timestamp::from_millis(occurred_at);
        bench.find(&finding).added
    };
    assert_eq!(late(10 * HOUR, 10 * HOUR), Added::Opened);
    assert_eq!(late(10 * HOUR, 8 * HOUR), Added::Counted);
    assert_eq!(late(10 * HOUR, HOUR), Added::Opened);
    assert_eq!(late(10 * HOUR, 3 * HOUR), Added::Counted);
    // Five hours lie between: both ends are two hours from this one, and what was two is one.
    assert_eq!(late(10 * HOUR, 6 * HOUR), Added::Counted);
    assert_eq!(bench.last().len(), 2);
    let mut bridge = finding(10 * HOUR + 1, "a@high TA0002 host:h1");
    bridge.occurred_at = Timestamp::from_millis(5 * HOUR);
    assert_eq!(bench.find(&bridge).merged, 1);
    assert_eq!(bench.last().len(), 1);
    assert_eq!(bench.last()[0].findings, 6);
}

#[test]
fn two_incidents_that_turn_out_to_be_one_are_merged_and_the_older_stays() {
    let mut bench = Bench::new(telling());
    bench.find(&finding(0, "a@high TA0002 host:h1 user:eve"));
    bench.find(&finding(MINUTE, "b@high TA0006 host:h2 user:bob"));
    let [first, second] = [0, 1].map(|at| bench.told[at].incident_id.clone());
    let outcome = bench.find(&finding(2 * MINUTE, "c@high TA0008 host:h1 host:h2"));
    assert_eq!(outcome.merged, 1);
    let [merged, whole] = &bench.told[2..] else { panic!("{:?}", bench.told) };
    assert_eq!((&merged.incident_id, merged.merged_into.as_ref()), (&second, Some(&first)));
    assert_eq!((merged.changes.as_slice(), merged.gained.len()), (&[C::Merged][..], 0));
    assert_eq!((&whole.incident_id, &whole.merged[..], whole.findings), (&first, &[second][..], 3));
    assert!(whole.changes.contains(&C::Absorbed), "{:?}", whole.changes);
    // What was the second's is the first's now.
    bench.find(&finding(3 * MINUTE, "d@high TA0040 user:bob"));
    assert_eq!(bench.told.last().unwrap().incident_id, first);
}

#[test]
fn an_event_that_comes_again_when_all_is_over_opens_no_second_incident_of_the_same_name() {
    let mut bench = Bench::new(telling());
    let first = finding(0, "a@high TA0002 host:h1");
    bench.find(&first);
    bench.find(&finding(1, "b@high TA0006 host:h1"));
    bench.wait_until(30 * HOUR);
    let again = Finding { at: Timestamp::from_millis(40 * HOUR), ..first };
    assert_eq!(bench.find(&again).added, Added::Counted);
    bench.wait_until(41 * HOUR);
    let last = bench.last();
    assert_eq!((last.len(), last[0].findings, last[0].revision), (1, 3, 3));
    // It takes findings again.
    bench.find(&finding(HOUR, "c@high TA0040 host:h1"));
    assert_eq!(bench.last().len(), 1);
}

#[test]
fn what_is_everywhere_joins_nothing() {
    let settings = Settings { max_companions: 5, everywhere: vec!["Scanner-1".to_owned()], ..telling() };
    let mut bench = Bench::new(settings);
    let by = |n: i64, who: &str| finding(n * MINUTE, &format!("a@high TA0002 host:h{n} {who}"));
    let nobody =
        [r"user:NT_AUTHORITY\SYSTEM", "user:SYSTEM", "user:WS1$", "user:root", "ip:127.0.0.1", "ip:169.254.7.7"];
    for (n, who) in nobody.into_iter().enumerate() {
        let first = 100 + 10 * i64::try_from(n).unwrap();
        bench.told.clear();
        (first..first + 3).for_each(|n| _ = bench.find(&by(n, who)));
        assert_eq!(bench.last().len(), 3, "{who}: one a host");
    }
    bench.told.clear();
    for n in 1..=12 {
        bench.find(&by(n, "user:backup ip:192.0.2.1"));
    }
    // The sixth host makes them be everywhere.
    let mut sizes: Vec<u64> = bench.last().iter().map(|incident| incident.findings).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 1, 1, 1, 1, 5]);
    bench.told.clear();
    for n in 21..=23 {
        bench.find(&finding(n * MINUTE, &format!("a@high TA0002 user:u{n} host:scanner-1.corp.example")));
    }
    assert_eq!(bench.last().len(), 3);
    let scanner = bench.last()[0].entities.iter().find(|entity| entity.value.starts_with("scanner")).unwrap().clone();
    assert!(!scanner.joins);
}

#[test]
fn findings_that_name_nobody_in_particular_are_joined_by_their_rules() {
    let mut bench = Bench::new(telling());
    for (n, text) in
        ["a@high TA0002 user:SYSTEM", "a@high TA0002 user:SYSTEM", "b@high TA0002 user:SYSTEM", "a@high TA0002"]
            .into_iter()
            .enumerate()
    {
        bench.find(&finding(i64::try_from(n).unwrap() * MINUTE, text));
    }
    assert_eq!(bench.last().len(), 3);
}

#[test]
fn two_tenants_never_meet_and_a_replay_tells_the_same() {
    let run = || {
        let mut bench = Bench::new(telling());
        for n in 0..20 {
            let mut one: Finding = finding(n * MINUTE, &format!("a@high TA0002 host:h{}", n % 3));
            one.tenant_id = TenantId::new(["acme", "globex"][usize::try_from(n % 2).unwrap()]).unwrap();
            bench.find(&one);
        }
        bench
    };
    let (one, other) = (run(), run());
    assert_eq!(one.told, other.told);
    assert_eq!(one.last().len(), 6);
}
