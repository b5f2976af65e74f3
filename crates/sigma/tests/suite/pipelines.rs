//! Pipelines: cases in a text file, and what is refused.

use std::fmt::Write as _;

use cybervault_sigma::{Mappings, Matcher, PipelineFile, Pipelines, Routing, RuleFile, RulePack, load_with};

use crate::{raw, reader};

fn pack(pipelines: &[(&str, &str)], rules: &str) -> RulePack {
    let files = pipelines.iter().map(|(path, text)| PipelineFile { path, text });
    let pipelines = Pipelines::read(files).unwrap_or_else(|error| panic!("{error}"));
    load_with([RuleFile { path: "test.yml", text: rules }], &pipelines)
}

/// A case is a pipeline, or several, each behind a line `pipeline`; the rule behind a line `rule`; and events that it is
/// true of or not, or what is said of the rule that can't be used.
#[test]
fn pipelines_do_to_rules_what_pysigma_does() {
    let mut wrong = String::new();
    for case in include_str!("../cases/pipelines.txt").split("\n== ").skip(1) {
        let (title, body) = case.split_once('\n').unwrap();
        let (before, after) = body.split_once("rule\n").unwrap();
        let pipelines: Vec<_> = before.split("pipeline\n").skip(1).map(|text| ("pipeline.yml", text)).collect();
        let is_event = |line: &&str| ["match ", "miss ", "fails "].iter().any(|start| line.starts_with(start));
        let (events, rule): (Vec<_>, Vec<_>) = after.lines().partition(is_event);
        let pack = pack(&pipelines, &format!("title: {title}\n{}", rule.join("\n")));
        for line in events {
            let (expected, event) = line.split_once(' ').unwrap();
            let right = match (expected, pack.failed.first()) {
                ("fails", failed) => failed.is_some_and(|failed| failed.to_string().contains(event)),
                (_, Some(_)) => false,
                (_, None) => is_true(&pack, event) == (expected == "match"),
            };
            if !right {
                writeln!(wrong, "{title}: not: {line}; {:?}", pack.failed).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn is_true(pack: &RulePack, event: &str) -> bool {
    let matcher = Matcher::compile(pack, &Mappings::default());
    let mut reader = reader();
    let document = reader.read(event.as_bytes()).unwrap();
    let mut scratch = matcher.scratch();
    !matcher.matches(&raw(&document, event.as_bytes()), Routing::Off, &mut scratch).is_empty()
}

#[test]
fn what_is_no_pipeline_is_refused_with_its_line_and_reason() {
    let item = |lines: &str| {
        format!(
            "name: test\ntransformations:\n  - id: first\n    type: set_state\n    key: a\n    val: 1\n  - id: second\n{lines}"
        )
    };
    for (text, line, expected) in [
        (item("    type: turn_around\n"), 7, "unknown variant `turn_around`"),
        (item("    type: field_name_prefix\n    suffix: x\n"), 7, "unknown field `suffix`"),
        (item("    type: field_name_prefix\n"), 7, "missing field `prefix`"),
        (item("    mapping: {}\n"), 7, "missing field `type`"),
        (
            item("    type: query_expression_placeholders\n    expression: x\n"),
            7,
            "is not to be had: it puts a piece of a query",
        ),
        (item("    type: http_placeholders\n"), 7, "don't go to the network"),
        (item("    type: replace_string\n    regex: '(?<=a)b'\n    replacement: c\n"), 7, "look-around"),
        (item("    type: add_condition\n    conditions: {'a|sideways': 1}\n"), 7, "sideways"),
        (item("    type: change_logsource\n"), 7, "neither category nor product nor service"),
        (
            item("    type: rule_failure\n    message: x\n    rule_conditions:\n      - type: logsorce\n"),
            11,
            "unknown variant `logsorce`",
        ),
        (
            item(
                "    type: rule_failure\n    message: x\n    rule_conditions:\n      - type: logsource\n        products: x\n",
            ),
            11,
            "unknown field `products`",
        ),
        (item("    type: rule_failure\n    message: x\n    rule_cond_op: nor\n"), 10, "unknown variant `nor`"),
        (
            item(
                "    type: rule_failure\n    message: x\n    rule_conditions:\n      a: {type: is_sigma_rule}\n    rule_cond_expr: a or b\n",
            ),
            7,
            "`b` is no condition",
        ),
        (
            item(
                "    type: rule_failure\n    message: x\n    field_name_conditions:\n      - type: include_fields\n        fields: ['[']\n        mode: re\n",
            ),
            11,
            "no regular expression",
        ),
        ("transformations: 1\n".to_owned(), 1, "expected a sequence"),
        ("transformation: []\n".to_owned(), 1, "unknown field `transformation`"),
        ("- a\n".to_owned(), 1, "expected struct"),
        ("name: x\npriority: {}\n".to_owned(), 2, "invalid type: map"),
    ] {
        let error = Pipelines::read([PipelineFile { path: "p.yml", text: &text }]).unwrap_err();
        assert!(error.reason.contains(expected), "{text}\n{error}");
        assert_eq!(error.line, Some(line), "{text}\n{error}");
        assert!(error.to_string().starts_with(&format!("pipeline p.yml:{line}: ")), "{error}");
    }
}

#[test]
fn pipelines_come_in_the_order_of_their_priority() {
    let late = ("a.yml", "priority: 20\ntransformations: [{type: field_name_suffix, suffix: .late}]");
    let early = ("b.yml", "priority: 10\ntransformations: [{type: field_name_suffix, suffix: .early}]");
    let rule = "title: t\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}";
    let pack = pack(&[late, early], rule);
    assert!(is_true(&pack, r#"{"A.early.late":1}"#));
    assert!(!is_true(&pack, r#"{"A":1}"#));
}

#[test]
fn a_packs_version_tells_its_pipelines_apart() {
    let rule = "title: t\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}";
    let version = |pipelines: &[(&str, &str)]| pack(pipelines, rule).version;
    let one = [("a.yml", "transformations: [{type: field_name_prefix, prefix: a.}]")];
    let other = [("a.yml", "transformations: [{type: field_name_prefix, prefix: b.}]")];
    assert_ne!(version(&[]), version(&one));
    assert_ne!(version(&one), version(&other));
    assert_eq!(version(&one), version(&one));
}

#[test]
fn filters_and_correlations_are_changed_like_the_rules() {
    let pipeline = "transformations:
  - {type: field_name_mapping, mapping: {User: user.name, Host: [host.name, host.id]}}
  - type: field_name_prefix
    prefix: win.
    rule_conditions: [{type: logsource, product: windows}]";
    let rules = "title: t
id: one
logsource: {product: windows}
detection: {sel: {User: root}, condition: sel}
---
title: f
logsource: {product: windows}
filter:
  rules: [one]
  selection: {Host: build}
  condition: not selection
---
title: c
correlation:
  type: value_count
  rules: [one]
  group-by: [Host, user]
  aliases: {user: {one: User}}
  timespan: 5m
  condition: {gte: 3, field: User}";
    let pack = pack(&[("p.yml", pipeline)], rules);
    assert_eq!(pack.failed, []);
    assert!(is_true(&pack, r#"{"win":{"user":{"name":"root"}}}"#));
    assert!(!is_true(&pack, r#"{"win":{"user":{"name":"root"},"host":{"id":"build"}}}"#));
    let correlation = &pack.correlations[0];
    assert_eq!(correlation.group_by, ["win.host.name", "win.host.id", "user"]);
    assert_eq!(correlation.field_of("user", 0), "win.user.name");
    assert_eq!(correlation.fields, ["win.user.name"]);
}
