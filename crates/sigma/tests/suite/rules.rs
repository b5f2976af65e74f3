//! Reading rule files.

use std::fmt::Write as _;

use cybervault_model::Level;
use cybervault_sigma::{FINDING_KINDS, Mappings, Matcher, Referred, Routing, RuleFile, RuleFinding, load};

use crate::{matcher, pack, raw, reader};

const RULE: &str = "title: T\nid: i\nlogsource: {product: windows}\ndetection:\n  sel: {A: x}\n  condition: sel\n";

/// Cases in a text file: rules, then `error` or `warning` with place, kind and a part of what is said; `none` where there is nothing.
#[test]
fn what_is_wrong_with_rules_is_told_at_its_place() {
    let mut wrong = String::new();
    for case in include_str!("../cases/findings.txt").split("\n== ").skip(1) {
        let (title, body) = case.split_once('\n').unwrap();
        let (text, expected) = body.split_once("\n=> ").unwrap();
        let pack = load([RuleFile { path: "a/bad.yml", text }, RuleFile { path: "b/good.yml", text: RULE }]);
        let told = |severity: &str, findings: &[RuleFinding]| {
            let line = |finding: &RuleFinding| {
                let RuleFinding { line, column, code, message, .. } = finding;
                assert!(FINDING_KINDS.iter().any(|(known, _)| known == code), "{title}: {code} is not listed");
                assert!(!message.contains('\n'), "{title}: {message}");
                format!("{severity} {}:{} {code}: {message}", line.unwrap(), column.unwrap())
            };
            findings.iter().map(line).collect::<Vec<_>>()
        };
        let found = [told("error", &pack.failed), told("warning", &pack.warnings)].concat();
        let expected: Vec<_> =
            expected.trim().split("\n=> ").map(str::trim).filter(|expected| *expected != "none").collect();
        let fits = |(found, expected): (&String, &&str)| {
            let (place, part) = expected.split_once(": ").unwrap();
            found.starts_with(&format!("{place}: ")) && found.contains(part)
        };
        if found.len() != expected.len() || !found.iter().zip(&expected).all(fits) {
            writeln!(wrong, "{title}:\n  {}\nnot:\n  {}", found.join("\n  "), expected.join("\n  ")).unwrap();
        }
        assert!(pack.rules.iter().any(|rule| rule.meta.id == "i"), "{title}: the other file's rule is used");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_file_can_not_stand_for_more_than_is_taken() {
    let mut bomb = "title: T\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{before}]").unwrap();
    }
    for (text, part) in [
        (bomb, "more than"),
        (format!("title: {}", "[".repeat(100_000)), "limit"),
        (format!("title: {}", "[".repeat(100)), "deep"),
        (format!("title: T\ndetection: {{sel: x, condition: {}a}}", "(".repeat(100_000)), "condition is longer"),
        ("title: &a [*a]".to_owned(), "alias"),
    ] {
        let pack = load([RuleFile { path: "a", text: &text }]);
        assert!(pack.failed[0].message.contains(part), "{:?}", pack.failed);
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
fn a_correlation_knows_its_rules_and_where_they_are_named() {
    let text =
        "title: C\ncorrelation: {type: event_count, rules: [i], group-by: [User], timespan: 5m, condition: {gte: 3}}\n";
    let pack = pack(&format!("{RULE}---\n{text}"));
    assert_eq!(pack.failed, []);
    let [correlation] = &pack.correlations[..] else { panic!("{:?}", pack.correlations) };
    assert_eq!((correlation.place, &correlation.references[..]), ((8, 1), &[("i".to_owned(), 9, 42)][..]));
    assert_eq!((&correlation.rules[..], correlation.timespan_ms), (&[Referred::Rule(0)][..], 300_000));
    assert!(!pack.rules[0].meta.is_told && correlation.meta.is_told);
}

#[test]
fn rules_are_silent_only_for_correlations_of_their_file() {
    let rule = "title: R\nname: r\nlogsource: {product: windows}\ndetection: {sel: {A: x}, condition: sel}\n";
    let inner = "title: I\nname: i\ncorrelation: {type: event_count, rules: r, group-by: A, timespan: 5m, condition: {gte: 3}}\n";
    let outer =
        "title: O\ncorrelation: {type: event_count, rules: i, group-by: A, timespan: 5m, condition: {gte: 3}}\n";
    let told = |files: &[(&str, String)]| {
        let pack = load(files.iter().map(|(path, text)| RuleFile { path, text }));
        assert_eq!(pack.failed, []);
        let correlations = pack.correlations.iter().map(|correlation| correlation.meta.is_told);
        pack.rules.iter().map(|rule| rule.meta.is_told).chain(correlations).collect::<Vec<_>>()
    };
    // Those that are over others come behind them, wherever they stand.
    assert_eq!(told(&[("a.yml", format!("{outer}---\n{inner}---\n{rule}"))]), [false, false, true]);
    assert_eq!(told(&[("a.yml", format!("{outer}generate: true\n---\n{inner}---\n{rule}"))]), [false, true, true]);
    assert_eq!(told(&[("a.yml", outer.to_owned()), ("b.yml", format!("{rule}---\n{inner}"))]), [false, true, true]);
    assert_eq!(told(&[("a.yml", rule.to_owned()), ("b.yml", format!("{inner}---\n{outer}"))]), [true, false, true]);
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
