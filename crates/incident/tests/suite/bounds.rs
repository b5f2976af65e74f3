//! Whoever floods hides nothing, and takes no more room than there is.

use std::collections::HashSet;

use cybervault_incident::Settings;
use cybervault_model::{EntityKind, Severity};

use crate::support::{Bench, MINUTE, finding, telling};

/// 20,000 findings of beacons to ever other addresses, with ever other files, and an attack of five steps in the midst of them.
#[test]
fn an_attack_under_a_flood_is_there_step_by_step() {
    let mut bench = Bench::new(Settings::default());
    let attack = [
        r"phish@medium TA0001 host:h1 user:ACME\eve file:C:\mail.docm",
        r"shell@high TA0002 host:h1 user:ACME\eve process:C:\powershell.exe",
        r"dump@critical TA0006 host:h1 user:ACME\eve file:C:\lsass.dmp",
        r"exec@high TA0008 host:h2 user:ACME\eve ip:10.0.0.7",
        r"wipe@critical TA0040 host:h2 user:ACME\admin",
    ];
    let mut steps = attack.iter();
    for n in 0..20_000_i64 {
        let flood = format!("beacon@low TA0011 host:h1 ip:203.0.{}.{} file:C:\\tmp\\{n}", n / 200 % 250, n % 200 + 1);
        bench.find(&finding(n * 50, &flood));
        if n % 4_000 == 2_000 {
            bench.find(&finding(n * 50, steps.next().unwrap()));
        }
    }
    let last = bench.last();
    let [incident] = &last[..] else { panic!("{} incidents", last.len()) };
    assert_eq!(incident.severity, Severity::Critical);
    for step in attack {
        let rule = step.split('@').next().unwrap();
        let entry = incident.timeline.iter().find(|entry| entry.rules == [rule]);
        let entry = entry.unwrap_or_else(|| panic!("{rule} is hidden"));
        assert_eq!(entry.findings, 1);
        assert!(incident.rules.iter().any(|known| known.id == rule));
    }
    for (kind, value) in [(EntityKind::Host, "h2"), (EntityKind::User, r"ACME\admin")] {
        assert!(incident.entities.iter().any(|entity| entity.kind == kind && entity.value == value), "{value}");
    }
    let tactics: HashSet<&str> = incident.tactics.iter().map(|tactic| &*tactic.tactic_id).collect();
    assert_eq!(tactics.len(), 6);
    assert!(incident.timeline.len() <= 100 && incident.left_out.timeline > 0 && incident.left_out.entities > 0);
    // Nothing is lost in number.
    let told: u64 = incident.timeline.iter().map(|entry| entry.findings).sum();
    assert_eq!(told + incident.left_out.timeline, incident.findings);
    let gained: usize = bench.told.iter().map(|told| told.gained.len()).sum();
    assert_eq!(gained as u64, incident.findings);
    // Each step was told at once; the flood by itself only in lots.
    assert!(bench.told.len() < 5 + 20_000 / 200, "{} tellings", bench.told.len());
    let size = serde_json::to_vec(incident).unwrap().len();
    assert!(size < 200_000, "{size} bytes");
}

#[test]
fn a_record_stays_within_its_size_whatever_comes() {
    let mut bench = Bench::new(telling());
    let long = "x".repeat(500);
    let mut largest = 0;
    for n in 0..2_000 {
        let severity = ["low", "medium", "high", "critical"][n % 4];
        let text = format!(
            "r{n}{long}@{severity} TA0002 host:h1 host:h{n}{long} user:u{n}{long} ip:2001:db8::{n:x} file:f{n}{long} \
             process:p{n}{long} domain:d{n}{long} hash:a{n}{long}"
        );
        bench.find(&finding(i64::try_from(n).unwrap(), &text));
        largest =
            largest.max(bench.told.drain(..).map(|one| serde_json::to_vec(&one).unwrap().len()).max().unwrap_or(0));
    }
    assert!(largest > 100_000 && largest < 1_000_000, "{largest} bytes");
}

#[test]
fn a_tenant_has_so_many_incidents_at_a_time_and_the_quietest_takes_no_more() {
    let mut bench = Bench::new(Settings { max_active: 10, ..telling() });
    let mut dropped = 0;
    for n in 0..1_000 {
        dropped += bench.find(&finding(n * MINUTE / 60, &format!("a@high TA0002 host:h{n}"))).dropped;
        bench.find(&finding(n * MINUTE / 60, "a@high TA0002 host:busy"));
    }
    assert_eq!(dropped, 991);
    assert_eq!((bench.store.of_kind(b'e'), bench.store.of_kind(b'h')), (10, 1));
    let busy = bench.last().into_iter().find(|incident| incident.entities[0].value == "busy").unwrap();
    assert!(busy.findings > 500, "{}", busy.findings);
}
