//! Which predicate has to be seen before a rule is worth a look.
//!
//! A rule's triggers are predicates of which at least one is true whenever the rule is. Of the sets that a rule offers
//! (one for each part of an `and`) the one expected to be seen most rarely is taken.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::{
    condition::Expr,
    guard::guards,
    predicate::{NumberOp, Predicate, Test, TextOp},
};

/// A set of predicates that are answered at once, and how often one of them is expected to be true.
#[derive(Debug)]
pub(crate) struct Triggers {
    pub(crate) predicates: Vec<Predicate>,
    rate: f64,
}

/// The triggers of a rule; `None` where it can be true of an event that has nothing it names.
///
/// `uses` tells how many rules ask a predicate: what many ask is a common thing to see.
pub(crate) fn triggers(expr: &Expr, uses: &impl Fn(&Predicate) -> usize) -> Option<Triggers> {
    triggers_where(expr, true, uses)
}

/// What is seen whenever the expression has this truth value.
fn triggers_where(expr: &Expr, is_true: bool, uses: &impl Fn(&Predicate) -> usize) -> Option<Triggers> {
    match (expr, is_true) {
        (Expr::Not(inner), _) => triggers_where(inner, !is_true, uses),
        (Expr::Is(predicate), true) => Some(Triggers::of(predicate, guards(predicate)?, uses)),
        (Expr::Is(predicate), false) => {
            // What is not null is there.
            let there = Predicate { scope: predicate.scope.clone(), test: Test::NotNull };
            let guards = guards(&there).filter(|_| predicate.test == Test::Null)?;
            Some(Triggers::of(&there, guards, uses))
        }
        (Expr::All(parts), true) | (Expr::Any(parts), false) => parts
            .iter()
            .filter_map(|part| triggers_where(part, is_true, uses))
            .min_by(|a, b| a.rate.total_cmp(&b.rate).then(a.predicates.len().cmp(&b.predicates.len()))),
        (Expr::AtLeast(0, _), _) | (Expr::AtLeast(..), false) => None,
        (Expr::Any(parts) | Expr::AtLeast(_, parts), true) | (Expr::All(parts), false) => {
            let mut joined = Triggers { predicates: Vec::new(), rate: 0.0 };
            for part in parts {
                let part = triggers_where(part, is_true, uses)?;
                joined.predicates.extend(part.predicates);
                joined.rate += part.rate;
            }
            Some(joined)
        }
    }
}

impl Triggers {
    /// Those of `predicate`, of which one is true whenever it is.
    fn of(predicate: &Predicate, predicates: Vec<Predicate>, uses: &impl Fn(&Predicate) -> usize) -> Self {
        // Few predicates are asked by more than some hundred rules, so the factor stays moderate.
        let popularity = 1.0 + (f64::from(u32::try_from(uses(predicate)).unwrap_or(u32::MAX)) / 4.0);
        let rate = predicates.iter().map(|guard| rate(&guard.test)).sum::<f64>() * popularity;
        Self { predicates, rate }
    }
}

/// A guess at how often a test that is made at once passes. Only the order matters: longer texts are rarer, and that the
/// field is there, which is all the sign that some tests have, is worse than any texts, however many rules ask for them.
fn rate(test: &Test) -> f64 {
    let rare = |text: &str, per_byte: f64| per_byte.powi(i32::try_from(telling(text).min(60)).unwrap_or(60));
    match test {
        Test::Text { op: TextOp::Exact, text, .. } => 0.01 + rare(text, 0.6),
        Test::Text { op: TextOp::Suffix, text, .. } => 0.02 + rare(text, 0.7),
        Test::Text { op: TextOp::Contains, text, .. } => 0.002 + rare(text, 0.75),
        // What values begin with is mostly a drive, a hive or a scheme.
        Test::Text { op: TextOp::Prefix, text, .. } => 0.05 + rare(text, 0.8),
        Test::Number { op: NumberOp::Equal, .. } => 0.1,
        Test::Bool(_) => 0.4,
        _ => f64::INFINITY,
    }
}

/// How many bytes of a text are in nothing that many events have.
fn telling(text: &str) -> usize {
    /// Folders and keys, programs and libraries that are everywhere, rights that many programs ask for.
    const COMMON: [&str; 31] = [
        "c:\\windows\\",
        "\\windows\\",
        "system32\\",
        "syswow64\\",
        "program files",
        "(x86)\\",
        "\\users\\",
        "\\appdata\\",
        "hklm\\",
        "software\\",
        "microsoft\\",
        "currentversion\\",
        "currentcontrolset\\",
        "services\\",
        "windows",
        "system",
        "ntdll.dll",
        "kernelbase.dll",
        "kernel32.dll",
        "svchost.exe",
        "explorer.exe",
        "cmd.exe",
        "powershell",
        ".exe",
        ".dll",
        "microsoft corporation",
        "http",
        "true",
        "0x1000",
        "0x1400",
        "0x1410",
    ];
    static SEARCH: LazyLock<Option<AhoCorasick>> =
        LazyLock::new(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(COMMON).ok());
    let common = SEARCH.iter().flat_map(|search| search.find_iter(text)).map(|found| found.len());
    text.len() - common.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_everywhere_tells_nothing() {
        assert_eq!(telling(r"c:\windows\system32\svchost.exe"), 0);
        assert_eq!(telling(r"\windows\temp\é.exe"), r"temp\é".len());
    }
}
