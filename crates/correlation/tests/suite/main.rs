//! The engine as a whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bounds;
mod cases;
mod kept;
mod meetings;
mod naive;
mod property;

use std::sync::Arc;

use cybervault_correlation::{Engine, FieldValues, Finding, Limits, Plan, Signal};
use cybervault_sigma::{RuleFile, RulePack, load};

/// Base rules that are told apart by one letter, and correlations over them.
fn pack(correlations: &str) -> RulePack {
    let rule = |name: char| {
        format!(
            "---\ntitle: {name}\nname: {name}\nlogsource: {{product: test}}\ndetection: {{s: {{r: {name}}}, condition: s}}\n"
        )
    };
    let text = ['a', 'b', 'c', 'd'].map(rule).into_iter().fold(correlations.to_owned(), |text, rule| text + &rule);
    let pack = load([RuleFile { path: "test.yml", text: &text }]);
    assert_eq!(pack.failed, [], "{correlations}");
    pack
}

/// An engine, and what is put into it.
struct Bench {
    plan: Arc<Plan>,
    engine: Engine,
    fields: FieldValues,
}

impl Bench {
    fn new(pack: &RulePack, limits: Limits) -> Self {
        let plan = Arc::new(Plan::compile(pack));
        let titles = pack.rules.iter().map(|rule| rule.meta.title.as_str());
        Self { engine: Engine::new(plan.clone(), titles, limits), plan, fields: FieldValues::default() }
    }

    /// Has these fields be those of the next event.
    fn set_fields(&mut self, values: &[(&str, &str)]) {
        self.fields.clear();
        for (at, field) in self.plan.fields().iter().enumerate() {
            values.iter().filter(|(name, _)| name == field).for_each(|(_, value)| self.fields.push(at, value, None));
        }
    }

    /// Takes an event with these rules and fields; the findings as `title field=value`.
    fn take(&mut self, tenant: &str, id: &str, time: i64, rules: &[usize], values: &[(&str, &str)]) -> Vec<String> {
        self.set_fields(values);
        let signal = Signal { tenant, event_id: id, time, rules, fields: &self.fields, meets: None };
        let mut found = Vec::new();
        self.engine.take(&signal, &mut |finding| found.push(named(finding)));
        found
    }
}

fn named(finding: &Finding<'_>) -> String {
    let group = finding.group.iter().map(|(field, value)| format!(" {field}={value}"));
    finding.correlation.meta.title.clone() + &group.collect::<String>()
}
