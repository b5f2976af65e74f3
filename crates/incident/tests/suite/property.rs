//! What holds for any findings.

use std::collections::{BTreeMap, BTreeSet};

use cybervault_incident::{Finding, Settings};
use cybervault_model::{Incident, Timestamp};
use proptest::prelude::*;

use crate::support::{Bench, HOUR, TACTICS, finding, telling};

/// When, and by which of a few rules, severities, tactics, hosts, accounts and other entities.
type Dice = (i64, u8, usize, usize, u8, u8, u8);

/// A finding of a few rules, hosts and accounts, at one of a few times.
fn findings(most: usize) -> impl Strategy<Value = Vec<Finding>> {
    let one = (0..40_i64, 0..3_u8, 0..5_usize, 0..6_usize, 0..6_u8, 0..6_u8, any::<u8>());
    prop::collection::vec(one, 1..most).prop_map(|all| {
        let make = |(n, (at, rule, severity, tactic, host, user, other)): (usize, Dice)| {
            let severity = ["informational", "low", "medium", "high", "critical"][severity];
            let tactic = TACTICS[tactic].0;
            let mut text = format!("r{rule}@{severity} {tactic}");
            for (is_there, entity) in [
                (host < 5, format!("host:h{host}")),
                (user < 4, format!("user:u{user}")),
                (other % 4 == 0, format!("ip:192.0.2.{}", other % 3 + 1)),
                (other % 5 == 0, format!("file:f{other}")),
            ] {
                if is_there {
                    text = format!("{text} {entity}");
                }
            }
            let mut finding = finding(50 * HOUR, &text);
            finding.assessment_id = format!("ta_{n}");
            finding.occurred_at = Timestamp::from_millis(at * HOUR / 2);
            finding
        };
        all.into_iter().enumerate().map(make).collect()
    })
}

/// Which findings are one incident: by all that was told.
fn groups(bench: &Bench) -> BTreeSet<BTreeSet<String>> {
    let mut into: BTreeMap<String, String> = BTreeMap::new();
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for told in &bench.told {
        if let Some(to) = &told.merged_into {
            into.insert(told.incident_id.clone(), to.clone());
        }
        of.entry(told.incident_id.clone()).or_default().extend(told.gained.iter().cloned());
    }
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, gained) in of {
        let mut end = id;
        while let Some(next) = into.get(&end) {
            end = next.clone();
        }
        groups.entry(end).or_default().extend(gained);
    }
    groups.into_values().collect()
}

fn run(findings: &[Finding]) -> Bench {
    // So that each finding that is only counted is told by the next look.
    let mut bench = Bench::new(Settings { gap_ms: 2 * 3_600_000, max_companions: 1_000, ..telling() });
    findings.iter().for_each(|finding| _ = bench.find(finding));
    bench.wait_until(51 * HOUR);
    bench
}

/// What an incident says, without its name and the story of its tellings.
fn said(incident: &Incident) -> Incident {
    Incident {
        incident_id: String::new(),
        revision: 0,
        changes: Vec::new(),
        gained: Vec::new(),
        merged: Vec::new(),
        updated_at: Timestamp::default(),
        ..incident.clone()
    }
}

fn all_said(bench: &Bench) -> Vec<String> {
    let mut all: Vec<String> = bench.last().iter().map(|one| serde_json::to_string(&said(one)).unwrap()).collect();
    all.sort();
    all
}

/// Findings that share a telling entity within the gap, by the plain meaning of the words.
fn naive(findings: &[Finding]) -> BTreeSet<BTreeSet<String>> {
    let keys = |finding: &Finding| -> BTreeSet<String> {
        let telling = finding.entities.iter().filter(|found| !matches!(found.entity.kind.as_str(), "file" | "process"));
        let mut keys: BTreeSet<String> = telling.map(|found| format!("{:?}", found.entity)).collect();
        if keys.is_empty() {
            let first = finding.entities.first().map(|found| &found.entity.value);
            keys.insert(format!("{first:?} {:?}", finding.rules[0].id));
        }
        keys
    };
    let mut groups: Vec<(BTreeSet<String>, BTreeSet<String>, i64, i64)> = findings
        .iter()
        .map(|one| {
            let at = one.occurred_at.as_millis();
            (BTreeSet::from([one.assessment_id.clone()]), keys(one), at, at)
        })
        .collect();
    let gap = 2 * HOUR;
    'again: loop {
        for a in 0..groups.len() {
            for b in a + 1..groups.len() {
                let near = groups[a].2 <= groups[b].3 + gap && groups[b].2 <= groups[a].3 + gap;
                if near && !groups[a].1.is_disjoint(&groups[b].1) {
                    let (ids, keys, first, last) = groups.remove(b);
                    let group = &mut groups[a];
                    group.0.extend(ids);
                    group.1.extend(keys);
                    (group.2, group.3) = (group.2.min(first), group.3.max(last));
                    continue 'again;
                }
            }
        }
        return groups.into_iter().map(|(ids, ..)| ids).collect();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn incidents_are_what_the_words_mean_in_whatever_order_findings_come(
        (findings, shuffled) in findings(24).prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        let (bench, other) = (run(&findings), run(&shuffled));
        prop_assert_eq!(groups(&bench), naive(&findings));
        prop_assert_eq!(groups(&other), naive(&findings));
        prop_assert_eq!(all_said(&bench), all_said(&other));
    }

    #[test]
    fn every_finding_is_gained_once_and_counted_once(findings in findings(40)) {
        let bench = run(&findings);
        let mut gained: Vec<&String> = bench.told.iter().flat_map(|told| &told.gained).collect();
        let count = gained.len();
        gained.sort();
        gained.dedup();
        prop_assert_eq!((count, gained.len()), (findings.len(), findings.len()));
        let last = bench.last();
        prop_assert_eq!(last.iter().map(|one| one.findings).sum::<u64>(), findings.len() as u64);
        for incident in &last {
            let told: u64 = incident.timeline.iter().map(|entry| entry.findings).sum();
            prop_assert_eq!(told, incident.findings);
            prop_assert_eq!(incident.revision, bench.told.iter().filter(|one| one.incident_id == incident.incident_id).count() as u64);
        }
    }

    /// Each rule, tactic, severity and entity has an entry of the timeline that begins no later than the first finding that has it.
    #[test]
    fn a_fold_never_hides_the_first_of_anything(findings in findings(60)) {
        let bench = run(&findings);
        let last = bench.last();
        for finding in &findings {
            let at = finding.occurred_at;
            let shows = |has: &dyn Fn(&cybervault_model::TimelineEntry) -> bool| {
                last.iter().flat_map(|incident| &incident.timeline).any(|entry| entry.first_at <= at && at <= entry.last_at && has(entry))
            };
            prop_assert!(shows(&|entry| entry.rules == [finding.rules[0].id.clone()]
                && entry.severity == finding.severity
                && entry.tactics.iter().eq(finding.attack.iter().map(|found| &found.tactic_id))
                && finding.entities.iter().all(|found| entry.entities.contains(&found.entity))), "{:?}", finding);
        }
    }

    /// Whoever listens learns of all that is new with the finding that brings it.
    #[test]
    fn what_is_new_is_told_at_once(findings in findings(40)) {
        let mut bench = Bench::new(Settings { max_companions: 1_000, ..telling() });
        for finding in &findings {
            bench.find(finding);
            let last = bench.last();
            for found in finding.entities.iter().filter(|found| matches!(found.entity.kind.as_str(), "host" | "user")) {
                let knows = last.iter().any(|one| one.entities.iter().any(|e| e.value == found.entity.value));
                prop_assert!(knows, "{:?}", found);
            }
            let tactic = &finding.attack[0].tactic_id;
            prop_assert!(last.iter().any(|one| one.tactics.iter().any(|known| known.tactic_id == *tactic)));
        }
    }
}
