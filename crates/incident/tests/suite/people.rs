//! What people say of incidents.

use cybervault_incident::Decided;
use cybervault_model::{
    IncidentChange as C, IncidentDecision, IncidentDecisionKind as K, IncidentStatus as S, IncidentVerdict as V,
    TenantId,
};

use crate::support::{Bench, HOUR, MINUTE, finding, telling};

fn word(id: &str, incident_id: &str, kind: K) -> IncidentDecision {
    IncidentDecision {
        decision_id: id.to_owned(),
        incident_id: incident_id.to_owned(),
        tenant_id: TenantId::new("acme").unwrap(),
        kind,
        status: None,
        verdict: None,
        assignee: None,
        decided_by: "jdoe".to_owned(),
        comment: None,
    }
}

#[test]
fn each_word_is_told_once_and_stays_with_the_incident() {
    let mut bench = Bench::new(telling());
    bench.find(&finding(0, "a@high TA0002 host:h1"));
    let id = bench.told[0].incident_id.clone();
    for (decision, expected) in [
        (IncidentDecision { status: Some(S::InProgress), ..word("d1", &id, K::Status) }, Decided::Taken),
        (IncidentDecision { status: Some(S::Open), ..word("d1", &id, K::Status) }, Decided::Known),
        (IncidentDecision { assignee: Some("kim".into()), ..word("d2", &id, K::Assign) }, Decided::Taken),
        (IncidentDecision { comment: Some("Looks real".into()), ..word("d3", &id, K::Comment) }, Decided::Taken),
        (IncidentDecision { verdict: Some(V::TruePositive), ..word("d4", &id, K::Verdict) }, Decided::Taken),
        (word("d5", &id, K::Status), Decided::Incomplete),
        (word("d6", &id, K::Comment), Decided::Incomplete),
        (IncidentDecision { status: Some(S::Closed), ..word("d7", "inc_0", K::Status) }, Decided::Unknown),
    ] {
        assert_eq!(bench.decide(&decision, MINUTE), expected, "{decision:?}");
    }
    let other = IncidentDecision {
        status: Some(S::Closed),
        tenant_id: TenantId::new("globex").unwrap(),
        ..word("d8", &id, K::Status)
    };
    assert_eq!(bench.decide(&other, MINUTE), Decided::Unknown);
    let last = bench.told.last().unwrap();
    assert_eq!(
        (last.status, last.verdict, last.assignee.as_deref()),
        (S::InProgress, Some(V::TruePositive), Some("kim"))
    );
    assert_eq!(last.decisions.iter().map(|word| &*word.decision_id).collect::<Vec<_>>(), ["d1", "d2", "d3", "d4"]);
    assert_eq!((bench.told.len(), last.changes.as_slice()), (5, &[C::Decision][..]));
}

#[test]
fn what_is_closed_stays_closed_for_repetition_and_opens_again_for_something_new() {
    let mut bench = Bench::new(telling());
    bench.find(&finding(0, "a@high TA0002 host:h1"));
    let id = bench.told[0].incident_id.clone();
    bench.decide(&IncidentDecision { verdict: Some(V::FalsePositive), ..word("d1", &id, K::Verdict) }, 1);
    bench.decide(&IncidentDecision { status: Some(S::Closed), ..word("d2", &id, K::Status) }, 2);
    bench.find(&finding(MINUTE, "a@high TA0002 host:h1"));
    let told = bench.told.len();
    assert_eq!(bench.told.last().unwrap().status, S::Closed);
    bench.find(&finding(2 * MINUTE, "b@critical TA0040 host:h1"));
    let last = bench.told.last().unwrap();
    assert_eq!((bench.told.len(), last.status, last.verdict), (told + 1, S::Open, None));
    assert_eq!(last.changes, [C::Tactic, C::Severity, C::Reopened]);
}

#[test]
fn a_word_on_what_was_merged_is_a_word_on_what_it_became_however_often() {
    let mut bench = Bench::new(telling());
    bench.find(&finding(0, "a@high TA0002 host:h1"));
    bench.find(&finding(1, "a@high TA0002 host:h2"));
    bench.find(&finding(2, "a@high TA0002 host:h3"));
    let ids: Vec<String> = bench.told.iter().map(|incident| incident.incident_id.clone()).collect();
    let comment = IncidentDecision { comment: Some("mine".into()), ..word("d1", &ids[2], K::Comment) };
    bench.decide(&comment, 3);
    bench.find(&finding(4, "b@high TA0002 host:h3 host:h2"));
    bench.find(&finding(5, "b@high TA0002 host:h2 host:h1"));
    let comment = IncidentDecision { comment: Some("again".into()), ..word("d2", &ids[2], K::Comment) };
    assert_eq!(bench.decide(&comment, 6), Decided::Taken);
    let last = bench.told.last().unwrap();
    assert_eq!(last.incident_id, ids[0]);
    let said: Vec<_> = last.decisions.iter().filter_map(|word| word.comment.as_deref()).collect();
    assert_eq!(said, ["mine", "again"]);
    assert_eq!(bench.last().len(), 1);
}

#[test]
fn long_after_it_ended_an_incident_still_takes_words() {
    let mut bench = Bench::new(telling());
    bench.find(&finding(0, "a@high TA0002 host:h1"));
    let id = bench.told[0].incident_id.clone();
    bench.wait_until(30 * HOUR);
    assert_eq!(bench.store.of_kind(b'e') + bench.store.of_kind(b'h'), 0, "nothing leads to it any more");
    let close = IncidentDecision { status: Some(S::Closed), ..word("d1", &id, K::Status) };
    assert_eq!(bench.decide(&close, 31 * HOUR), Decided::Taken);
    bench.wait_until(31 * 24 * HOUR + 31 * HOUR);
    assert_eq!(bench.store.len(), 0);
    assert_eq!(bench.decide(&close, 2_000 * HOUR), Decided::Unknown);
}
