//! Rules and events that were damaged at random: nothing may panic, and the compiled matcher's answers stay sound.
//!
//! `make fuzz` runs more than a million of them; by default it is as many as a minute allows. `FUZZ_INPUTS` says how many.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, load};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

use crate::{raw, reader};

/// What is put into texts: what means something to YAML, to Sigma, to patterns and to JSON.
const WORDS: [&str; 48] = [
    "|contains",
    "|all",
    "|re",
    "|re|i",
    "|cidr",
    "|base64offset",
    "|wide",
    "|windash",
    "|fieldref",
    "|expand",
    "|gt",
    "|exists",
    "|cased",
    "|neq",
    "|startswith",
    "|endswith|minute",
    "1 of them",
    "all of selection*",
    " and not ",
    "(",
    ")",
    "them",
    "condition: ",
    "timeframe: 5m",
    "logsource: {}",
    "action: global\n---\n",
    "---\n",
    "\n",
    "- ",
    ": ",
    "null",
    "''",
    "*",
    "?",
    "\\",
    "\\\\*",
    "%x%",
    "[a-z]+",
    "(a|b)*c{2,9}",
    "\"",
    "{",
    "}",
    "[",
    ",",
    "\u{0}",
    "ß",
    "\\ud800",
    "1e999",
];

/// One change of a text.
#[derive(Clone, Debug)]
enum Edit {
    Delete(Index, u8),
    Insert(Index, Index),
    Byte(Index, u8),
    Repeat(Index, u8),
    /// Goes on with the rest of another text.
    Splice(Index, Index, Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let edit = prop_oneof![
        1 => (at(), any::<u8>()).prop_map(|(from, length)| Edit::Delete(from, length)),
        3 => (at(), at()).prop_map(|(to, word)| Edit::Insert(to, word)),
        1 => (at(), any::<u8>()).prop_map(|(to, byte)| Edit::Byte(to, byte)),
        1 => (at(), any::<u8>()).prop_map(|(from, length)| Edit::Repeat(from, length)),
        1 => (at(), at(), at()).prop_map(|(to, other, from)| Edit::Splice(to, other, from)),
    ];
    vec(edit, 1..6)
}

fn damaged(corpus: &[Vec<u8>], which: Index, edits: &[Edit]) -> Vec<u8> {
    let mut text = which.get(corpus).clone();
    for edit in edits {
        let place = |index: &Index, text: &[u8]| index.index(text.len() + 1);
        match edit {
            Edit::Delete(from, length) => {
                let from = place(from, &text);
                let to = (from + usize::from(*length)).min(text.len());
                drop(text.drain(from..to));
            }
            Edit::Insert(to, word) => {
                let to = place(to, &text);
                drop(text.splice(to..to, word.get(&WORDS).bytes()));
            }
            Edit::Byte(to, byte) if !text.is_empty() => *to.get_mut(&mut text) = *byte,
            Edit::Byte(..) => {}
            Edit::Repeat(from, length) => {
                let from = place(from, &text);
                let part = text[from..].iter().copied().take(usize::from(*length)).collect::<Vec<_>>();
                drop(text.splice(from..from, part));
            }
            Edit::Splice(to, other, from) => {
                text.truncate(place(to, &text));
                let other = other.get(corpus);
                text.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
    text
}

fn content(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../content").join(name)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
    found.sort();
}

static RULES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut found = Vec::new();
    files(&content("rules"), &mut found);
    let cases = include_str!("../cases/mappings.txt").as_bytes().to_vec();
    found.iter().map(|path| fs::read(path).unwrap()).chain([cases]).collect()
});

static EVENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut found = Vec::new();
    files(&content("samples"), &mut found);
    let texts = found
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .map(|path| fs::read(path).unwrap());
    texts
        .flat_map(|text| text.split(|byte| *byte == b'\n').step_by(7).map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect()
});

/// Runs `check` on so many damaged texts, or on as many as are asked for; returns how many these were.
fn fuzz(corpus: &[Vec<u8>], default: u32, check: impl Fn(&[u8])) -> u32 {
    let cases = env::var("FUZZ_INPUTS").map_or(default, |count| count.parse().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&(any::<Index>(), edits()), |(which, edits)| {
        check(&damaged(corpus, which, &edits));
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    cases
}

/// Whatever is not JSON is refused; all else is matched, and what hits has its evidence.
fn try_on(matcher: &Matcher, bytes: &[u8]) {
    let mut reader = reader();
    let Ok(document) = reader.read(bytes) else { return };
    let event = raw(&document, bytes);
    let mut scratch = matcher.scratch();
    for routing in [Routing::Auto, Routing::Off] {
        let mut evidence = Vec::new();
        let hits = matcher.matches_shown(&event, routing, &mut scratch, &mut evidence).to_vec();
        assert!(hits.is_sorted(), "{hits:?}");
        assert_eq!(hits, matcher.matches(&event, routing, &mut scratch), "the same event, another answer");
        assert!(evidence.len() == hits.len() && evidence.iter().all(|values| values.len() <= 16));
    }
}

#[test]
fn damaged_rules_are_refused_or_used_and_nothing_else() {
    let mappings = Mappings::builtin();
    let count = fuzz(&RULES, 30_000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let pack = load([RuleFile { path: "damaged.yml", text: &text }]);
        let matcher = Matcher::compile(&pack, &mappings);
        assert_eq!(matcher.rules().len(), pack.rules.len());
        EVENTS.iter().step_by(EVENTS.len() / 4).for_each(|event| try_on(&matcher, event));
    });
    println!("{count} rules");
}

#[test]
fn damaged_events_are_refused_or_matched_and_nothing_else() {
    let texts: Vec<_> = RULES.iter().map(|rule| String::from_utf8_lossy(rule)).collect();
    let pack = load(texts.iter().map(|text| RuleFile { path: "rule.yml", text }));
    let matcher = Matcher::compile(&pack, &Mappings::builtin());
    assert!(matcher.rules().len() > 50);
    let count = fuzz(&EVENTS, 300_000, |bytes| try_on(&matcher, bytes));
    println!("{count} events");
}
