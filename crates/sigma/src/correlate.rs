//! Correlations put together: which rules they rest on, in which order they are evaluated, and what they refuse.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use cybervault_model::{Level, derived_id};
use rsigma_parser::{
    ConditionExpr, ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, LogSource,
};

use crate::{
    finding::{Issue, Meant, Place, nearest},
    load::{RuleFile, RuleMeta, RulePack, RuleSource},
    pipeline::Pipelines,
    read,
};

/// The most rules that one correlation names: a bit each tells which of them an event is of.
const MOST_RULES: usize = 64;
/// The most events of one group that are kept: what asks for more can't become true.
const MOST_EVENTS: f64 = 100_000.0;
/// Up to so many rules, a condition on them is tried with every combination.
const MOST_TRIED: usize = 12;

/// A correlation: a rule over several events that other rules are true of. All that it names is there.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// What is known about it beside its condition; its log source is empty.
    pub meta: RuleMeta,
    /// What is counted or compared.
    pub kind: CorrelationKind,
    /// The rules that it is over, in its order, which an ordered one asks for.
    pub rules: Vec<Referred>,
    /// The fields whose values all events of a group have; none puts all of a tenant in one group.
    pub group_by: Vec<String>,
    /// How long the time frame is that slides over the events, in milliseconds.
    pub timespan_ms: i64,
    /// What must be true of the events in the time frame.
    pub condition: CorrelationCriterion,
    /// The fields whose values are counted or computed with.
    pub fields: Vec<String>,
    /// Names for fields that are called otherwise in some rules' events.
    pub aliases: Vec<CorrelationAlias>,
    /// Whether the rules of its file that it is over are told by themselves, too (`generate`).
    pub generates: bool,
    /// The rules that it names, its condition and its aliases included, each with line and column.
    pub references: Vec<(String, u32, u32)>,
    /// Where in the file it begins: line and column, from 1.
    pub place: (u32, u32),
}

/// What a correlation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Referred {
    /// The rule at this place of [`RulePack::rules`].
    Rule(usize),
    /// The correlation at this place of [`RulePack::correlations`], which is before the one that refers to it.
    Correlation(usize),
}

/// What a correlation counts or compares (Sigma 2.1 §Correlation types).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CorrelationKind {
    /// The number of events.
    EventCount,
    /// The number of distinct values.
    ValueCount,
    /// The number of different rules.
    Temporal,
    /// The number of different rules that are true in the order in which they are named.
    TemporalOrdered,
    /// The sum of a field's numbers.
    ValueSum,
    /// Their average.
    ValueAvg,
    /// The value at this percentile of them, interpolated.
    ValuePercentile(f64),
}

impl CorrelationKind {
    fn of(kind: CorrelationType, percentile: Option<f64>) -> Self {
        match kind {
            CorrelationType::EventCount => Self::EventCount,
            CorrelationType::ValueCount => Self::ValueCount,
            CorrelationType::Temporal => Self::Temporal,
            CorrelationType::TemporalOrdered => Self::TemporalOrdered,
            CorrelationType::ValueSum => Self::ValueSum,
            CorrelationType::ValueAvg => Self::ValueAvg,
            CorrelationType::ValuePercentile => Self::ValuePercentile(percentile.unwrap_or(50.0)),
            CorrelationType::ValueMedian => Self::ValuePercentile(50.0),
        }
    }

    /// The name in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventCount => "event_count",
            Self::ValueCount => "value_count",
            Self::Temporal => "temporal",
            Self::TemporalOrdered => "temporal_ordered",
            Self::ValueSum => "value_sum",
            Self::ValueAvg => "value_avg",
            Self::ValuePercentile(_) => "value_percentile",
        }
    }

    /// Whether it is about which rules are true, not about numbers of events or values.
    pub const fn is_temporal(self) -> bool {
        matches!(self, Self::Temporal | Self::TemporalOrdered)
    }

    /// Whether it compares a whole number that can't be negative.
    const fn counts(self) -> bool {
        matches!(self, Self::EventCount | Self::ValueCount | Self::Temporal | Self::TemporalOrdered)
    }
}

/// What must be true in the time frame.
#[derive(Clone, Debug, PartialEq)]
pub enum CorrelationCriterion {
    /// All of these of the number that the [kind](CorrelationKind) gives.
    Bounds(Vec<(Comparison, f64)>),
    /// This of the rules that were true.
    Rules(RuleExpr),
}

/// How a number is compared with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `lt`
    Less,
    /// `lte`
    AtMost,
    /// `gt`
    Greater,
    /// `gte`
    AtLeast,
    /// `eq`
    Equal,
    /// `neq`
    NotEqual,
}

impl Comparison {
    const fn of(operator: ConditionOperator) -> Self {
        match operator {
            ConditionOperator::Lt => Self::Less,
            ConditionOperator::Lte => Self::AtMost,
            ConditionOperator::Gt => Self::Greater,
            ConditionOperator::Gte => Self::AtLeast,
            ConditionOperator::Eq => Self::Equal,
            ConditionOperator::Neq => Self::NotEqual,
        }
    }

    /// Whether `ordering`, of a number to the bound, is as it asks.
    pub const fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
        }
    }
}

/// A condition on rules: each by its place in [`Correlation::rules`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleExpr {
    /// This one was true.
    Rule(usize),
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    Any(Vec<Self>),
    /// This not.
    Not(Box<Self>),
}

impl RuleExpr {
    /// Whether it is true where the rules with bits in `present` were.
    pub fn holds(&self, present: u64) -> bool {
        match self {
            Self::Rule(at) => present >> at & 1 == 1,
            Self::All(parts) => parts.iter().all(|part| part.holds(present)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(present)),
            Self::Not(part) => !part.holds(present),
        }
    }

    fn of(expr: &ConditionExpr, place: &impl Fn(&str) -> Option<usize>) -> Option<Self> {
        let parts =
            |parts: &[ConditionExpr]| parts.iter().map(|part| Self::of(part, place)).collect::<Option<Vec<_>>>();
        Some(match expr {
            ConditionExpr::And(all) => Self::All(parts(all)?),
            ConditionExpr::Or(any) => Self::Any(parts(any)?),
            ConditionExpr::Not(part) => Self::Not(Box::new(Self::of(part, place)?)),
            ConditionExpr::Identifier(name) => Self::Rule(place(name)?),
            ConditionExpr::Selector { .. } => return None,
        })
    }

    /// Whether it is rules and `not` rules joined by `and`, which is what can have an order.
    fn is_plain(&self, inside: bool) -> bool {
        match self {
            Self::Rule(_) => true,
            Self::Not(part) => matches!(**part, Self::Rule(_)),
            Self::All(parts) => !inside && parts.iter().all(|part| part.is_plain(true)),
            Self::Any(_) => false,
        }
    }
}

/// A name for a field that is called otherwise in some rules' events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationAlias {
    /// The name.
    pub name: String,
    /// The field, by the rules' places in [`Correlation::rules`]; `None` where it has the name itself.
    pub fields: Vec<Option<String>>,
}

impl Correlation {
    /// The field that `name` is in events of the rule at `slot` of its rules.
    pub fn field_of<'n>(&'n self, name: &'n str, slot: usize) -> &'n str {
        let alias = self.aliases.iter().find(|alias| alias.name == name);
        alias.and_then(|alias| alias.fields.get(slot)?.as_deref()).unwrap_or(name)
    }
}

/// What correlations may name, by id and by name.
#[derive(Default)]
pub(crate) struct Names {
    targets: HashMap<String, Vec<Target>>,
    refused: HashSet<String>,
    titles: HashSet<String>,
}

/// A rule of the pack, or a correlation by its place among those that were read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Rule(usize),
    Correlation(usize),
}

impl Names {
    /// A rule at this place of the pack.
    pub(crate) fn add_rule(&mut self, names: &[Option<String>; 2], title: &str, place: usize) {
        self.titles.insert(title.to_owned());
        self.add(names, Target::Rule(place));
    }

    /// Something that can't be used.
    pub(crate) fn refuse(&mut self, names: [Option<String>; 2]) {
        self.refused.extend(names.into_iter().flatten());
    }

    /// Whether there is something of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.targets.contains_key(name) || self.refused.contains(name)
    }

    fn add(&mut self, names: &[Option<String>; 2], target: Target) {
        for name in names.iter().flatten() {
            let targets = self.targets.entry(name.clone()).or_default();
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }

    fn find(&self, (name, at): &(String, Place)) -> Result<Target, Issue> {
        let message = match self.targets.get(name).map_or(&[][..], Vec::as_slice) {
            [one] => return Ok(*one),
            [] if self.refused.contains(name) => {
                format!("the rule `{name}` can't be used, so this can't either; mend that first")
            }
            [] if self.titles.contains(name) => {
                format!("`{name}` is a rule's title; name it by its id or its `name`")
            }
            [] => {
                let meant = Meant(nearest(name, self.targets.keys().map(String::as_str)));
                format!("no rule has the id or name `{name}`{meant}")
            }
            several => {
                format!("{} rules have the id or name `{name}`; name the one that is meant by its id", several.len())
            }
        };
        Err(Issue::new(*at, "unknown-reference", message))
    }
}

/// A correlation whose names are known.
struct Linked {
    targets: Vec<Target>,
    criterion: CorrelationCriterion,
    /// By alias, then by rule.
    aliases: Vec<Vec<Option<String>>>,
}

/// Puts the correlations that can be used into the pack, those that others are over before these.
pub(crate) fn link(
    pack: &mut RulePack,
    read: Vec<(RuleFile<'_>, read::Correlation)>,
    (mut names, sources): (Names, &[LogSource]),
    pipelines: &Pipelines,
) {
    for (at, (_, correlation)) in read.iter().enumerate() {
        names.titles.insert(correlation.rule.title.clone());
        names.add(&[correlation.rule.id.clone(), correlation.rule.name.clone()], Target::Correlation(at));
    }
    let mut waiting: Vec<_> = read
        .into_iter()
        .enumerate()
        .filter_map(|(at, (file, correlation))| {
            let linked = prepare(correlation, &names, pipelines, sources);
            linked
                .map(|(correlation, linked)| (at, file, correlation, linked))
                .map_err(|(title, issue)| {
                    pack.failed.push(issue.in_file(file.path, Some(&title)));
                })
                .ok()
        })
        .collect();
    // Where each of those that can be used stands in the pack.
    let mut places: HashMap<usize, usize> = HashMap::new();
    loop {
        let is_ready = |linked: &Linked| {
            linked.targets.iter().all(|target| match target {
                Target::Rule(_) => true,
                Target::Correlation(at) => places.contains_key(at),
            })
        };
        let Some(next) = waiting.iter().position(|(.., linked)| is_ready(linked)) else { break };
        let (at, file, correlation, linked) = waiting.remove(next);
        places.insert(at, pack.correlations.len());
        pack.correlations.push(finish(file, correlation, linked, &places));
    }
    refuse_rest(pack, &waiting);
    silence(pack);
}

type Waiting<'f> = (usize, RuleFile<'f>, read::Correlation, Linked);

fn prepare(
    mut correlation: read::Correlation,
    names: &Names,
    pipelines: &Pipelines,
    sources: &[LogSource],
) -> Result<(read::Correlation, Linked), (String, Issue)> {
    let title = correlation.rule.title.clone();
    let targets = resolve(&correlation, names).map_err(|issue| (title.clone(), issue))?;
    let over = targets.iter().filter_map(|target| match target {
        Target::Rule(at) => sources.get(*at).cloned(),
        Target::Correlation(_) => None,
    });
    let at = correlation.at;
    let rule = pipelines.apply_to_correlation(correlation.rule, over.collect());
    correlation.rule = rule.map_err(|reason| (title.clone(), Issue::new(at, "pipeline", reason)))?;
    let linked = connect(&correlation, targets, names).map_err(|issue| (title, issue))?;
    Ok((correlation, linked))
}

/// What the correlation is over, in its order.
fn resolve(correlation: &read::Correlation, names: &Names) -> Result<Vec<Target>, Issue> {
    let mut targets: Vec<Target> = Vec::new();
    for named @ (name, at) in &correlation.rules {
        let target = names.find(named)?;
        if targets.contains(&target) {
            let message = format!(
                "`{name}` is named before, and one event would stand for both; name each rule once, and use `event_count` for \"twice\""
            );
            return Err(Issue::new(*at, "correlation", message));
        }
        targets.push(target);
    }
    let mut in_condition = Vec::new();
    for named @ (name, at) in &correlation.in_condition {
        let target = names.find(named)?;
        if !targets.contains(&target) && !correlation.rules.is_empty() {
            let message = format!("the condition names `{name}`, and `rules` does not; name the same in both");
            return Err(Issue::new(*at, "correlation", message));
        }
        if !in_condition.contains(&target) {
            in_condition.push(target);
        }
    }
    if correlation.rules.is_empty() {
        targets = in_condition;
    } else if !in_condition.is_empty()
        && let Some(left_out) = targets.iter().position(|target| !in_condition.contains(target))
    {
        let (name, at) = &correlation.rules[left_out];
        let message = format!("`rules` names `{name}`, and the condition does not; name the same in both");
        return Err(Issue::new(*at, "correlation", message));
    }
    if targets.len() > MOST_RULES {
        let message = format!("the correlation is over {} rules, and {MOST_RULES} are the most", targets.len());
        return Err(Issue::new(correlation.at, "correlation", message));
    }
    Ok(targets)
}

fn connect(correlation: &read::Correlation, targets: Vec<Target>, names: &Names) -> Result<Linked, Issue> {
    let place = |named: &(String, Place)| {
        targets.iter().position(|target| names.find(named).is_ok_and(|found| found == *target))
    };
    for named @ (name, at) in &correlation.in_aliases {
        names.find(named)?;
        if place(named).is_none() {
            let message =
                format!("the alias is for `{name}`, which `rules` does not name; name it there, or take it away");
            return Err(Issue::new(*at, "correlation", message));
        }
    }
    let slot = |name: &str| place(&(name.to_owned(), correlation.at));
    let kind = CorrelationKind::of(correlation.rule.correlation_type, correlation.percentile);
    let criterion = match &correlation.rule.condition {
        CorrelationCondition::Extended(expr) => RuleExpr::of(expr, &slot).map(CorrelationCriterion::Rules),
        #[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
        CorrelationCondition::Threshold { .. } if correlation.bounds.is_empty() => {
            Some(CorrelationCriterion::Bounds(vec![(Comparison::AtLeast, targets.len() as f64)]))
        }
        CorrelationCondition::Threshold { .. } => Some(CorrelationCriterion::Bounds(
            correlation.bounds.iter().map(|(operator, bound)| (Comparison::of(*operator), *bound)).collect(),
        )),
    };
    let issue = |message: &str| Issue::new(correlation.condition_at, "correlation", message);
    let criterion = criterion.ok_or_else(|| issue("the condition can't be read"))?;
    check(kind, &criterion, targets.len()).map_err(|message| issue(&message))?;
    let aliases = correlation.rule.aliases.iter().map(|alias| {
        let mut fields = vec![None; targets.len()];
        for (name, field) in &alias.mapping {
            if let Some(slot) = slot(name) {
                fields[slot] = Some(field.clone());
            }
        }
        fields
    });
    let aliases = aliases.collect();
    Ok(Linked { targets, criterion, aliases })
}

/// Refuses what is true of nothing, and what nothing makes true.
fn check(kind: CorrelationKind, criterion: &CorrelationCriterion, rules: usize) -> Result<(), String> {
    const OF_NOTHING: &str =
        "nothing at all meets the condition, so that it would be true of every group before its first event";
    const NEVER: &str = "nothing can make the condition true";
    match criterion {
        CorrelationCriterion::Bounds(bounds) => {
            let of_zero = bounds.iter().all(|(comparison, bound)| comparison.holds(0.0_f64.total_cmp(&(bound + 0.0))));
            let exists_of_nothing = kind.counts() || kind == CorrelationKind::ValueSum;
            if exists_of_nothing && of_zero {
                return Err(format!("{OF_NOTHING}; write a lower bound that is above 0: `gte: 1`"));
            }
            #[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
            let most = match kind {
                _ if kind.is_temporal() => rules as f64,
                _ if kind.counts() => MOST_EVENTS,
                _ => f64::INFINITY,
            };
            if !can_hold(bounds, kind.counts(), most) {
                let why = match kind {
                    _ if kind.is_temporal() => format!("it counts the different rules, of which there are {rules}"),
                    _ if kind.counts() => format!("it is compared with a whole number of at most {most}"),
                    _ => "its bounds contradict each other".to_owned(),
                };
                return Err(format!("{NEVER}: {why}"));
            }
        }
        CorrelationCriterion::Rules(expr) => {
            if expr.holds(0) {
                return Err(format!("{OF_NOTHING}; name with `and` a rule that must be true"));
            }
            if kind == CorrelationKind::TemporalOrdered && !expr.is_plain(false) {
                return Err("an order is only among rules that are joined by `and`, with `not` at single ones; use \
                            `temporal`, or several correlations"
                    .to_owned());
            }
            if rules <= MOST_TRIED && !(0..1_u64 << rules).any(|present| expr.holds(present)) {
                return Err(NEVER.to_owned());
            }
        }
    }
    Ok(())
}

/// Whether a number meets all bounds: a whole one that is not negative, if it counts.
fn can_hold(bounds: &[(Comparison, f64)], counts: bool, most: f64) -> bool {
    // What the bounds divide the numbers into: these themselves, and what lies between two of them.
    let mut marks: Vec<f64> = bounds.iter().map(|(_, bound)| *bound).collect();
    marks.extend(if counts { [0.0, most] } else { [-1e300, 1e300] });
    marks.sort_by(f64::total_cmp);
    let between = marks.array_windows().map(|[a, b]| a / 2.0 + b / 2.0);
    let mut tried: Vec<f64> = marks.iter().copied().chain(between).collect();
    if counts {
        let whole = tried.iter().flat_map(|number| [number.floor() - 1.0, number.floor(), number.floor() + 1.0]);
        tried = whole.filter(|number| (0.0..=most).contains(number)).collect();
    }
    tried
        .iter()
        .any(|number| bounds.iter().all(|(comparison, bound)| comparison.holds(number.total_cmp(&(bound + 0.0)))))
}

fn finish(file: RuleFile<'_>, read: read::Correlation, linked: Linked, places: &HashMap<usize, usize>) -> Correlation {
    let rules = linked.targets.iter().map(|target| match target {
        Target::Rule(at) => Referred::Rule(*at),
        // Those that it is over came before.
        Target::Correlation(at) => Referred::Correlation(places.get(at).copied().unwrap_or_default()),
    });
    let named = read.rules.into_iter().chain(read.in_condition).chain(read.in_aliases);
    let fields = match &read.rule.condition {
        CorrelationCondition::Threshold { field, .. } => field.clone().unwrap_or_default(),
        CorrelationCondition::Extended(_) => Vec::new(),
    };
    let kind = CorrelationKind::of(read.rule.correlation_type, read.percentile);
    let mut group_by = read.rule.group_by.clone();
    let mut seen = HashSet::new();
    group_by.retain(|field| seen.insert(field.clone()));
    let aliases = read.rule.aliases.iter().zip(linked.aliases);
    Correlation {
        rules: rules.collect(),
        kind,
        group_by,
        timespan_ms: read.timespan_ms,
        condition: linked.criterion,
        fields: if matches!(kind, CorrelationKind::EventCount) || kind.is_temporal() { Vec::new() } else { fields },
        aliases: aliases.map(|(alias, fields)| CorrelationAlias { name: alias.alias.clone(), fields }).collect(),
        generates: read.rule.generate,
        references: named.map(|(name, at)| (name, at.line, at.column)).collect(),
        place: (read.at.line, read.at.column),
        meta: meta(&read.rule, file.path),
    }
}

fn meta(rule: &CorrelationRule, path: &str) -> RuleMeta {
    let id = || derived_id("rule", &[path.as_bytes(), rule.title.as_bytes()]);
    RuleMeta {
        id: rule.id.clone().unwrap_or_else(id),
        title: rule.title.clone(),
        level: rule.level.map_or(Level::Informational, crate::load::level),
        tags: rule.tags.clone(),
        status: rule.status.map(|status| format!("{status:?}").to_lowercase()),
        logsource: RuleSource::default(),
        falsepositives: rule.falsepositives.clone(),
        path: path.to_owned(),
        is_told: true,
    }
}

/// Those that wait for each other, and those that are over what can't be used.
fn refuse_rest(pack: &mut RulePack, waiting: &[Waiting<'_>]) {
    let over = |at: usize| {
        let linked = waiting.iter().find(|(own, ..)| *own == at).map(|(.., linked)| linked);
        let targets = linked.map_or(&[][..], |linked| &linked.targets);
        targets.iter().filter_map(|target| match target {
            Target::Correlation(at) => Some(*at),
            Target::Rule(_) => None,
        })
    };
    for (own, file, correlation, _) in waiting {
        let (mut reached, mut next): (HashSet<usize>, Vec<usize>) = (HashSet::new(), over(*own).collect());
        while let Some(at) = next.pop() {
            if reached.insert(at) {
                next.extend(over(at));
            }
        }
        let message = if reached.contains(own) {
            "the correlation is over itself, at once or through others; take one of the references away"
        } else {
            "a correlation that it is over can't be used, so this can't either; mend that first"
        };
        let at = correlation.rules.first().or(correlation.in_condition.first()).map_or(correlation.at, |(_, at)| *at);
        let issue = Issue::new(at, "unknown-reference", message);
        pack.failed.push(issue.in_file(file.path, Some(&correlation.rule.title)));
    }
}

/// What only correlations of the same file are to tell is not told by itself.
fn silence(pack: &mut RulePack) {
    let mut told: HashMap<Referred, bool> = HashMap::new();
    for correlation in &pack.correlations {
        for referred in &correlation.rules {
            let meta = match referred {
                Referred::Rule(at) => pack.rules.get(*at).map(|rule| &rule.meta),
                Referred::Correlation(at) => pack.correlations.get(*at).map(|correlation| &correlation.meta),
            };
            if meta.is_some_and(|meta| meta.path == correlation.meta.path) {
                match told.entry(*referred) {
                    Entry::Vacant(free) => drop(free.insert(correlation.generates)),
                    Entry::Occupied(mut known) => *known.get_mut() |= correlation.generates,
                }
            }
        }
    }
    for (referred, is_told) in told {
        match referred {
            Referred::Rule(at) => pack.rules.get_mut(at).into_iter().for_each(|rule| rule.meta.is_told = is_told),
            Referred::Correlation(at) => {
                pack.correlations.get_mut(at).into_iter().for_each(|correlation| correlation.meta.is_told = is_told);
            }
        }
    }
}
