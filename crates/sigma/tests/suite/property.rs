//! The compiled matcher says what the plainest interpreter says.

use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, load};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    naive::{Condition, Detection, Item, Op, Selection},
    raw, reader,
};

const FIELDS: [&str; 5] = ["A", "B", "c.d", "c.e.f", "Hash"];

/// Short texts of few letters, so that they agree now and then; with what is special in patterns.
fn text() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a", "A", "b", "ab", "ba", "ä", "Ä", "K", "-", "/", "–", "*", "?", "\\", "\\*", ".", "1", "12", "foo", "Zm9v",
        "YQ==", "\n", " ",
    ]);
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn address() -> impl Strategy<Value = String> {
    select(vec!["10.0.0.1", "10.0.1.1", "192.0.2.200", "::1", "10.0.0"]).prop_map(String::from)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::from),
        2 => (-2i64..14).prop_map(Value::from),
        1 => select(vec![1.5, 12.0, -0.0]).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => address().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => scalar(),
        1 => vec(scalar(), 0..3).prop_map(Value::from),
        1 => (scalar(), scalar()).prop_map(|(d, f)| json!({"d": d, "e": [{"f": f}, {"x": 1}]})),
    ]
}

fn event() -> impl Strategy<Value = Value> {
    vec((select(vec!["A", "B", "c", "c.d", "Hash", "x"]), value()), 0..6)
        .prop_map(|entries| Value::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect()))
}

fn item() -> impl Strategy<Value = Item> {
    let texts = || vec(text().prop_map(Value::from), 1..4).boxed();
    let with = |op: Op, values: BoxedStrategy<Vec<Value>>| (Just(op), values);
    let exact = vec(
        prop_oneof![
            4 => text().prop_map(Value::from),
            1 => (-2i64..14).prop_map(Value::from),
            1 => Just(Value::Null),
        ],
        1..4,
    );
    let numbers = || vec((-2i64..14).prop_map(Value::from), 1..2).boxed();
    let pattern = select(vec!["a+b", "^a.?$", "[0-9]{2}", "(?i)FOO|b-", "ä|k", "^$"]);
    let op = prop_oneof![
        3 => with(Op::Exact, exact.boxed()),
        3 => with(Op::Contains, texts()),
        2 => with(Op::StartsWith, texts()),
        2 => with(Op::EndsWith, texts()),
        1 => with(Op::Exists, any::<bool>().prop_map(|truth| vec![Value::from(truth)]).boxed()),
        1 => with(Op::Windash, texts()),
        1 => with(Op::Re, vec(pattern.prop_map(Value::from), 1..3).boxed()),
        1 => with(Op::Cidr, vec(select(vec!["10.0.0.0/24", "0.0.0.0/0"]).prop_map(Value::from), 1..2).boxed()),
        1 => with(Op::Lt, numbers()),
        1 => with(Op::Lte, numbers()),
        1 => with(Op::Gt, numbers()),
        1 => with(Op::Gte, numbers()),
        1 => with(Op::FieldRef, vec(select(FIELDS.to_vec()).prop_map(Value::from), 1..2).boxed()),
        1 => with(Op::Base64, vec(select(vec!["a", "foo"]).prop_map(Value::from), 1..2).boxed()),
    ];
    (select(FIELDS.to_vec()), op, any::<bool>(), any::<bool>(), prop::bool::weighted(0.15)).prop_map(
        |(field, (op, values), cased, all, negated)| {
            let all = all && values.len() > 1;
            let goes = op != Op::Exists;
            Item { field, op, cased: cased && goes, all: all && goes, negated: negated && goes, values }
        },
    )
}

fn selection() -> impl Strategy<Value = Selection> {
    let items = || vec(item(), 1..4).prop_map(one_of_each_key);
    prop_oneof![
        5 => items().prop_map(Selection::Items),
        2 => vec(items(), 1..3).prop_map(Selection::AnyOf),
        1 => vec(text(), 1..3).prop_map(Selection::Keywords),
    ]
}

/// A map has each key once only.
fn one_of_each_key(mut items: Vec<Item>) -> Vec<Item> {
    items.dedup_by_key(|item| item.field);
    let mut fields = Vec::new();
    items.retain(|item| {
        !fields.contains(&item.field) && {
            fields.push(item.field);
            true
        }
    });
    items
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        6 => (0usize..3).prop_map(Condition::Selection),
        1 => Just(Condition::AnyOfThem),
        1 => Just(Condition::AllOfThem),
        1 => Just(Condition::TwoOfThem),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
        ]
    })
}

fn detection() -> impl Strategy<Value = Detection> {
    (vec(selection(), 3), condition()).prop_map(|(selections, condition)| Detection { selections, condition })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_matcher_agrees_with_a_naive_interpreter(
        rules in vec(detection(), 1..5),
        events in vec(event(), 1..6),
    ) {
        let texts: Vec<_> = rules.iter().enumerate().map(|(index, rule)| rule.yaml(&format!("r{index}"))).collect();
        let names: Vec<_> = (0..texts.len()).map(|index| format!("{index}.yml")).collect();
        let files = names.iter().zip(&texts).map(|(path, text)| RuleFile { path, text });
        let pack = load(files);
        prop_assert_eq!(pack.failed.as_slice(), &[]);
        let matcher = Matcher::compile(&pack, &Mappings::default());
        let mut scratch = matcher.scratch();
        let mut reader = reader();
        for event in &events {
            let bytes = event.to_string();
            let document = reader.read(bytes.as_bytes()).unwrap();
            let event_read = raw(&document, bytes.as_bytes());
            let hits: Vec<_> =
                matcher.matches(&event_read, Routing::Off, &mut scratch).iter().map(|hit| hit.get()).collect();
            let expected: Vec<_> = (0..rules.len()).filter(|index| rules[*index].holds(event)).collect();
            prop_assert_eq!(&hits, &expected, "{} of {:?}", event, texts);
            let mut evidence = Vec::new();
            let shown = matcher.matches_shown(&event_read, Routing::Off, &mut scratch, &mut evidence);
            prop_assert!(shown.iter().map(|hit| hit.get()).eq(hits));
            prop_assert!(evidence.iter().all(|values| values.len() <= 16));
        }
    }
}
