//! Reading rule files.

use cybervault_model::Level;
use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, load};

use crate::{matcher, pack, raw, reader};

const RULE: &str = "title: T\nid: i\nlogsource: {product: windows}\ndetection:\n  sel: {A: x}\n  condition: sel\n";

#[test]
fn what_can_not_be_used_is_reported_with_its_place_and_the_rest_loads() {
    for (text, line, expected) in [
        ("title: T\ndetection: [", Some(3), "YAML"),
        ("title: T\nlogsource: {}\ndetection:\n  sel: {A|foo: x}\n  condition: sel", Some(4), "Unknown modifier 'foo'"),
        (
            "title: T\nlogsource: {}\ndetection:\n  sel:\n    A|re: '('\n  condition: sel",
            Some(5),
            "no regular expression",
        ),
        ("title: T\nlogsource: {}\ndetection:\n  sel: {A: x}\n  condition: sel and", Some(5), "Condition"),
        ("title: T\nlogsource: {}\ndetection:\n  sel: {A: x}\n  condition: other", Some(5), "`other`, which is no"),
        ("title: T\nlogsource: {}\ndetection:\n  sel: {B: 1, A|cidr: x}\n  condition: sel", Some(4), "no network"),
        ("title: T\nlogsource: {}\ndetection:\n  sel: {A|contains|re: x}\n  condition: sel", Some(4), "exclude each"),
        (
            "title: T\nlogsource: {}\ndetection:\n  sel: {A|contains|all: x}\n  condition: sel",
            Some(4),
            "several values",
        ),
        (
            "title: T\nlogsource: {}\ndetection:\n  sel: {A|re: '(a{1000}){1000}'}\n  condition: sel",
            Some(4),
            "no regular",
        ),
        ("title: T\nlogsource: {}\ndetection:\n  sel: {A: x}\n  condition: all of foo*", None, "which is no selection"),
        ("just text", None, "not a YAML mapping"),
    ] {
        let pack = load([RuleFile { path: "a/bad.yml", text }, RuleFile { path: "a/good.yml", text: RULE }]);
        assert_eq!(pack.rules.len(), 1, "{text}");
        let [failure] = pack.failed.as_slice() else { panic!("{:?}", pack.failed) };
        assert_eq!((failure.path.as_str(), failure.line), ("a/bad.yml", line), "{failure}");
        assert!(failure.error.contains(expected), "{failure}");
    }
}

#[test]
fn a_rule_brings_its_metadata_and_gets_an_id_where_it_has_none() {
    let text = "title: T\nstatus: test\nlevel: high\ntags: [attack.t1059]\nlogsource: {product: Windows, category: x}\n\
                falsepositives: [none]\ndetection:\n  sel: {A: x}\n  condition: sel\n";
    let (first, again) = (matcher(text), matcher(text));
    let meta = &first.rules()[0];
    assert_eq!(meta, &again.rules()[0]);
    assert!(meta.id.starts_with("rule_"));
    assert_eq!((meta.level, meta.status.as_deref()), (Level::High, Some("test")));
    assert_eq!((meta.logsource.product.as_deref(), meta.path.as_str()), (Some("windows"), "test.yml"));
}

#[test]
fn the_version_depends_on_the_files_and_not_on_their_order() {
    let (a, b) = (RuleFile { path: "a", text: RULE }, RuleFile { path: "b", text: RULE });
    assert_eq!(load([a, b]).version, load([b, a]).version);
    assert_ne!(load([a, b]).version, load([a]).version);
    assert_eq!(load([a]).version.len(), 32);
}

#[test]
fn documents_share_what_a_global_one_says() {
    let text = "action: global\ntitle: T\nid: i\nlogsource: {product: windows}\ndetection: {condition: sel}\n---\n\
                detection: {sel: {A: x}}\n---\ndetection: {sel: {B: y}}\n---\n";
    let matcher = matcher(text);
    assert_eq!(matcher.rules().iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["i", "i"]);
}

#[test]
fn a_filter_takes_away_from_the_rules_it_names() {
    let filter = "title: F\nlogsource: {product: windows}\nfilter:\n  rules: [i]\n  known: {User: root}\n  condition: not known\n";
    let pack = load([RuleFile { path: "r", text: RULE }, RuleFile { path: "f", text: filter }]);
    assert_eq!((pack.failed.as_slice(), pack.filters), (&[][..], 1));
    let matcher = Matcher::compile(&pack, &Mappings::builtin());
    let mut reader = reader();
    let mut scratch = matcher.scratch();
    for (event, expected) in [(r#"{"A":"x","User":"joe"}"#, 1), (r#"{"A":"x","User":"root"}"#, 0)] {
        let document = reader.read(event.as_bytes()).unwrap();
        let hits = matcher.matches(&raw(&document, event.as_bytes()), Routing::Off, &mut scratch);
        assert_eq!(hits.len(), expected, "{event}");
    }
}

#[test]
fn a_correlation_is_kept_for_later() {
    let text =
        "title: C\ncorrelation: {type: event_count, rules: [i], group-by: [User], timespan: 5m, condition: {gte: 3}}\n";
    let pack = pack(text);
    assert_eq!((pack.failed.as_slice(), pack.correlations.len()), (&[][..], 1));
}

#[test]
fn evidence_shows_what_made_a_rule_true_and_is_bounded() {
    let text = "title: T\nlogsource: {product: windows}\ndetection:\n  sel: {A|contains: x, B: [1, 2]}\n  or1: {C|re: 'y+'}\n  \
                not1: {D: z}\n  word: [needle]\n  condition: (sel or or1) and not not1 and word\n";
    let matcher = matcher(text);
    let long = format!("{}x", "ä".repeat(400));
    let event = format!(r#"{{"A":["q","{long}"],"B":2,"C":"n","E":{{"F":"a needle"}}}}"#);
    let mut reader = reader();
    let document = reader.read(event.as_bytes()).unwrap();
    let event = raw(&document, event.as_bytes());
    let mut scratch = matcher.scratch();
    let mut evidence = Vec::new();
    matcher.matches_shown(&event, Routing::Off, &mut scratch, &mut evidence);
    let [evidence] = &mut evidence[..] else { panic!("{evidence:?}") };
    evidence.sort_by(|a, b| a.field.cmp(&b.field));
    let shown: Vec<_> = evidence.iter().map(|one| (one.field.as_str(), one.value.as_str())).collect();
    let cut = format!("{}…", "ä".repeat(126));
    assert_eq!(shown, [("A", cut.as_str()), ("B", "2"), ("E.F", "a needle")]);
}
