//! `cybervault rules coverage`: what of ATT&CK the rules are about, as a layer for ATT&CK Navigator.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use cybervault_sigma::RuleMeta;
use serde_json::{Value, json};

use crate::{command::Answer, detection::RuleFiles};

/// How many rules a technique's comment names.
const NAMED: usize = 40;

/// From pale to dark: few rules to many.
const COLOURS: [&str; 3] = ["#e8f1fa", "#6aaed6", "#08519c"];

pub(super) fn run(rules: &RuleFiles) -> anyhow::Result<Answer> {
    let pack = rules.pack();
    for failure in &pack.failed {
        tracing::warn!(%failure, "a rule can't be used");
    }
    let correlations = pack.correlations.iter().map(|correlation| &correlation.meta);
    let layer = layer(pack.rules.iter().map(|rule| &rule.meta).chain(correlations));
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &layer).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(Answer::Yes)
}

/// A layer in Navigator's format 4.5: a technique's score is the number of its rules.
fn layer<'r>(rules: impl Iterator<Item = &'r RuleMeta>) -> Value {
    let mut techniques: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let (mut all, mut tagged) = (0, 0);
    for rule in rules {
        all += 1;
        let mut ids: Vec<_> = rule.tags.iter().filter_map(|tag| technique(tag)).collect();
        ids.sort_unstable();
        ids.dedup();
        tagged += usize::from(!ids.is_empty());
        for id in ids {
            techniques.entry(id).or_default().push(&rule.title);
        }
    }
    let most = techniques.values().map(Vec::len).max().unwrap_or(1);
    let technique = |(id, titles): (&String, &Vec<&str>)| {
        let more = titles.len().checked_sub(NAMED).filter(|more| *more > 0);
        let named: Vec<_> = titles.iter().take(NAMED).copied().collect();
        let comment = named.join("\n") + &more.map_or_else(String::new, |more| format!("\nand {more} more"));
        let is_shown =
            techniques.keys().any(|other| other.strip_prefix(id.as_str()).is_some_and(|sub| sub.starts_with('.')));
        json!({
            "techniqueID": id,
            "score": titles.len(),
            "comment": comment,
            "enabled": true,
            "showSubtechniques": is_shown,
        })
    };
    json!({
        "name": "CyberVault rules",
        "versions": {"layer": "4.5", "navigator": "5.1.0"},
        "domain": "enterprise-attack",
        "description": format!("{tagged} of {all} rules are about {} techniques; a score is a number of rules", techniques.len()),
        "sorting": 3,
        "techniques": techniques.iter().map(technique).collect::<Vec<_>>(),
        "gradient": {"colors": COLOURS, "minValue": 0, "maxValue": most},
    })
}

/// `attack.t1059.001` as `T1059.001`; `None` for other tags.
fn technique(tag: &str) -> Option<String> {
    let id = tag.to_ascii_uppercase();
    let digits = id.strip_prefix("ATTACK.T")?;
    let (technique, sub) = digits.split_once('.').unwrap_or((digits, "000"));
    let are_digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    (are_digits(technique, 4) && are_digits(sub, 3)).then(|| format!("T{digits}"))
}
