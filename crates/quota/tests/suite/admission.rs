//! What is admitted, over the public interface.

use std::num::NonZeroU32;

use cybervault_model::{Plan, QuotaOverride, RejectionReason, Tenant, TenantId, TenantStatus, Timestamp};
use cybervault_quota::{Admission, Compiled, Decision, Holding, Plans, Spread};
use proptest::prelude::*;

fn tenant(quota: Option<QuotaOverride>) -> Tenant {
    Tenant {
        tenant_id: TenantId::new("acme").unwrap(),
        name: None,
        plan: Plan::Starter,
        status: TenantStatus::Active,
        quota,
    }
}

fn compile(tenant: Tenant, partitions: u32) -> Admission {
    let spread = Spread::over(NonZeroU32::new(partitions).unwrap(), 250);
    Admission::compile(vec![tenant], &Plans::default(), spread).unwrap()
}

fn limits(events: u64, bytes: u64, burst_percent: u32) -> Option<QuotaOverride> {
    Some(QuotaOverride {
        events_per_second: Some(events),
        bytes_per_second: Some(bytes),
        burst_percent: Some(burst_percent),
    })
}

/// What a partition holds of a tenant, and events that come to it.
struct Sender {
    admission: Admission,
    holding: Holding,
}

impl Sender {
    /// At the tenant's home.
    fn new(admission: Admission) -> Self {
        let home = admission.lookup("acme").unwrap().home();
        Self::at(admission, home)
    }

    fn at(admission: Admission, partition: u32) -> Self {
        let holding = Holding::open(admission.lookup("acme").unwrap(), partition, 1);
        Self { admission, holding }
    }

    fn acme(&self) -> &Compiled {
        self.admission.lookup("acme").unwrap()
    }

    fn send(&mut self, at: i64, bytes: u64) -> Decision {
        // Through its bytes, as between two batches.
        let mut holding = Holding::decode(&self.holding.encode(), || panic!("it is of this version")).unwrap();
        let decision = self.acme().decide(&mut holding, Timestamp::from_millis(at), bytes);
        self.holding = holding;
        decision
    }

    fn admitted(&mut self, at: i64, bytes: u64, events: u64) -> u64 {
        (0..events).map(|_| u64::from(self.send(at, bytes) == Decision::Admitted)).sum()
    }
}

fn rejected(reason: RejectionReason, retry_after_ms: u64) -> Decision {
    Decision::Rejected { reason, retry_after_ms: Some(retry_after_ms) }
}

const T0: i64 = 1_800_000_000_000;

#[test]
fn a_starter_may_send_a_seconds_worth_and_its_burst_at_once_and_then_keeps_its_rate() {
    let mut sender = Sender::new(compile(tenant(None), 1));
    assert_eq!(sender.admitted(T0, 500, 200), 115);
    assert_eq!(sender.send(T0, 500), rejected(RejectionReason::EventsPerSecond, 10));
    assert!((sender.acme().level(&sender.holding, Timestamp::from_millis(T0)) - 1.0).abs() < 1e-9);
    assert_eq!(sender.admitted(T0 + 9, 500, 1), 0);
    assert_eq!(sender.admitted(T0 + 10, 500, 5), 1);
    assert_eq!(sender.admitted(T0 + 1_010, 500, 500), 100);
    assert_eq!(sender.admitted(T0 + 60_000, 500, 500), 115);
}

#[test]
fn bytes_are_limited_as_events_are_and_what_is_rejected_is_charged_to_neither() {
    let mut sender = Sender::new(compile(tenant(limits(10, 1_000, 0)), 1));
    assert_eq!(sender.send(T0, 900), Decision::Admitted);
    assert_eq!(sender.send(T0, 200), rejected(RejectionReason::BytesPerSecond, 100));
    // Nine more small ones: the rejected one used up no event.
    assert_eq!(sender.admitted(T0, 1, 20), 9);
}

#[test]
fn an_event_larger_than_the_bucket_is_admitted_when_it_is_empty_and_paid_for_afterwards() {
    let mut sender = Sender::new(compile(tenant(limits(10, 1_000, 0)), 1));
    assert_eq!(sender.send(T0, 1), Decision::Admitted);
    assert_eq!(sender.send(T0, 5_000), rejected(RejectionReason::BytesPerSecond, 1));
    assert_eq!(sender.send(T0 + 1, 5_000), Decision::Admitted);
    assert_eq!(sender.send(T0 + 1, 1_000), rejected(RejectionReason::BytesPerSecond, 5_000));
}

#[test]
fn a_partition_begins_with_what_nobody_need_grant_it() {
    let quota = || tenant(limits(100, 1_000_000, 15));
    // At home nearly all; elsewhere a twelfth of the floor, and of one share interval.
    assert_eq!(Sender::new(compile(quota(), 12)).admitted(T0, 100, 200), 114);
    let home = compile(quota(), 12).lookup("acme").unwrap().home();
    let mut sender = Sender::at(compile(quota(), 12), (home + 1) % 12);
    assert_eq!(sender.admitted(T0, 100, 50), 2);
    assert_eq!(sender.admitted(T0 + 60_000, 100, 50), 2);
    // A floor is never nothing, and nobody is sent away for longer than it takes to get more.
    let mut sender = Sender::at(compile(tenant(limits(1, 1_000_000, 0)), 12), (home + 1) % 12);
    assert_eq!(sender.admitted(T0, 100, 50), 1);
    assert_eq!(sender.send(T0, 100), rejected(RejectionReason::EventsPerSecond, 1_000));
}

#[test]
fn a_record_out_of_order_neither_refills_the_bucket_nor_costs_more() {
    let mut sender = Sender::new(compile(tenant(None), 1));
    assert_eq!(sender.admitted(T0, 100, 100), 100);
    assert_eq!(sender.admitted(T0 - 5_000, 100, 50), 15);
    assert_eq!(sender.send(T0 - 5_000, 100), rejected(RejectionReason::EventsPerSecond, 5_010));
    assert_eq!(sender.admitted(T0, 100, 50), 0);
}

#[test]
fn a_suspended_tenant_waits_in_vain_and_an_unknown_one_is_not_found() {
    let mut sender = Sender::new(compile(Tenant { status: TenantStatus::Suspended, ..tenant(None) }, 1));
    let decision = Decision::Rejected { reason: RejectionReason::SuspendedTenant, retry_after_ms: None };
    assert_eq!(sender.send(T0, 1), decision);
    assert!(sender.admission.lookup("globex").is_none());
}

#[test]
fn a_rate_of_nothing_is_refused_with_what_to_do() {
    let one = Spread::ALONE;
    let error = Admission::compile(vec![tenant(limits(0, 1, 0))], &Plans::default(), one).unwrap_err().to_string();
    assert!(error.contains("tenant `acme`") && error.contains("events_per_second is 0"), "{error}");
    assert!(error.contains("suspended"), "{error}");
}

#[test]
fn other_bytes_are_no_holding_and_those_of_the_version_before_are_one() {
    let admission = compile(tenant(None), 12);
    let acme = admission.lookup("acme").unwrap();
    let open = || Holding::open(acme, acme.home(), 7);
    let bytes = open().encode();
    let decode = |bytes: &[u8]| Holding::decode(bytes, open);
    assert_eq!(decode(&bytes), Some(open()));
    assert_eq!(decode(&bytes[..24]), None);
    assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
    assert_eq!(decode(&[&[9], &bytes[1..]].concat()), None);
    assert_eq!(decode(&[]), None);
    // A bucket by itself: what was charged to it is.
    let old = [&[1][..], &T0.to_be_bytes(), &1_150_000_000u64.to_be_bytes(), &0u64.to_be_bytes()].concat();
    let mut holding = decode(&old).unwrap();
    assert!(matches!(acme.decide(&mut holding, Timestamp::from_millis(T0), 1), Decision::Rejected { .. }));
}

fn quota() -> impl Strategy<Value = (Tenant, u32)> {
    (1..2_000u64, 1..100_000u64, 0..50u32, 1..20u32)
        .prop_map(|(events, bytes, burst, partitions)| (tenant(limits(events, bytes, burst)), partitions))
}

proptest! {
    #[test]
    fn the_same_event_after_the_time_to_retry_is_admitted(
        (tenant, partitions) in quota(),
        events in proptest::collection::vec((-2_000..2_000i64, 0..30_000u64), 1..60),
    ) {
        let mut sender = Sender::new(compile(tenant, partitions));
        let mut at = T0;
        for (step, bytes) in events {
            at += step;
            if let Decision::Rejected { retry_after_ms, .. } = sender.send(at, bytes) {
                let wait = i64::try_from(retry_after_ms.unwrap()).unwrap();
                prop_assert!(wait > 0);
                let rejected = sender.holding;
                prop_assert_ne!(sender.send(at + wait - 1, bytes), Decision::Admitted);
                sender.holding = rejected;
                prop_assert_eq!(sender.send(at + wait, bytes), Decision::Admitted);
                sender.holding = rejected;
            }
        }
    }

    #[test]
    fn no_stretch_of_time_admits_more_than_the_rate_and_one_bucket(
        (events, burst) in (1..500u64, 0..50u32),
        steps in proptest::collection::vec(0..40i64, 1..300),
    ) {
        let mut sender = Sender::new(compile(tenant(limits(events, 1_000_000_000, burst)), 1));
        let mut at = T0;
        let mut admitted = Vec::new();
        for step in steps {
            at += step;
            if sender.send(at, 1) == Decision::Admitted {
                admitted.push(at);
            }
        }
        for (first, &from) in admitted.iter().enumerate() {
            for (count, &to) in admitted[first..].iter().enumerate() {
                let allowed = events * u64::from(100 + burst) / 100 + events * from.abs_diff(to) / 1_000;
                prop_assert!(count as u64 <= allowed, "{} in {} ms", count + 1, to - from);
            }
        }
    }

    #[test]
    fn no_time_or_size_panics(
        (tenant, partitions) in quota(),
        events in proptest::collection::vec((any::<i64>(), any::<u64>()), 1..20),
    ) {
        let mut sender = Sender::new(compile(tenant, partitions));
        for (at, bytes) in events {
            sender.send(at, bytes);
            sender.holding.expires_at(sender.admission.lookup("acme").unwrap(), 0);
        }
    }
}
