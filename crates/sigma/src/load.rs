//! Rule files read into a pack: what each rule is, what makes it true, and which ones can't be used.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use cybervault_model::{Level, derived_id};
use rsigma_parser::{Detection, Detections, FilterRule, FilterRuleTarget, LogSource, SigmaRule};
use serde::Serialize;

use crate::{
    condition::{Expr, lower_conditions},
    correlate::{self, Correlation, Names},
    finding::{Issue, Place, RuleFinding},
    modifier::{LowerError, Step, unfilled},
    pipeline::Pipelines,
    read::{self, Document, Places, Read},
};

/// A file of rules, read by the caller.
#[derive(Clone, Copy, Debug)]
pub struct RuleFile<'a> {
    /// Its path, as it is to be reported.
    pub path: &'a str,
    /// Its content: YAML, one or more documents.
    pub text: &'a str,
}

/// What is known about a rule beside what makes it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMeta {
    /// The rule's id, or one derived from its file and title (`rule_…`).
    pub id: String,
    /// The title.
    pub title: String,
    /// The level; informational where the rule has none.
    pub level: Level,
    /// The tags: `attack.t1059.001`, …
    pub tags: Vec<String>,
    /// `stable`, `test`, `experimental`, …
    pub status: Option<String>,
    /// What kind of log the rule is about.
    pub logsource: RuleSource,
    /// What else could look like this.
    pub falsepositives: Vec<String>,
    /// The file.
    pub path: String,
    /// Whether it is told by itself; if not, it only feeds correlations of its file.
    pub is_told: bool,
}

impl RuleMeta {
    /// Whether it says something where no correlation is evaluated: it is told by itself, or is more than informational.
    pub fn tells_alone(&self) -> bool {
        self.is_told || self.level > Level::Informational
    }
}

/// The log source a rule asks for; lower case. What is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RuleSource {
    /// `windows`, `linux`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// `sysmon`, `security`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `process_creation`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

impl fmt::Display for RuleSource {
    /// `product/service/category`, `-` for what may be anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [product, service, category] =
            [&self.product, &self.service, &self.category].map(|name| name.as_deref().unwrap_or("-"));
        write!(f, "{product}/{service}/{category}")
    }
}

impl RuleSource {
    fn of(source: &LogSource) -> Self {
        let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase());
        Self { product: lower(&source.product), service: lower(&source.service), category: lower(&source.category) }
    }

    /// Whether what is for this source is for `other`, too.
    pub fn covers(&self, other: &Self) -> bool {
        let fits = |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        fits(&self.product, &other.product)
            && fits(&self.service, &other.service)
            && fits(&self.category, &other.category)
    }
}

/// A rule that can be used.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What is known about it.
    pub meta: RuleMeta,
    /// Where its log source is written.
    pub(crate) source_at: Place,
    pub(crate) expr: Expr,
}

impl Rule {
    /// Where in its file its log source is written: line and column, from 1.
    pub fn source_place(&self) -> (u32, u32) {
        (self.source_at.line, self.source_at.column)
    }
}

/// Every rule of a set of files.
#[derive(Clone, Debug, Default)]
pub struct RulePack {
    /// The rules that can be used, in the order of their files' paths.
    pub rules: Vec<Rule>,
    /// Correlations: rules over several events. One that others are over comes before these.
    pub correlations: Vec<Correlation>,
    /// How many filters were applied to the rules.
    pub filters: usize,
    /// What can't be used: one finding for each document, the first.
    pub failed: Vec<RuleFinding>,
    /// What of rules that are used is probably not meant.
    pub warnings: Vec<RuleFinding>,
    /// 128 bits of the SHA-256 over the files' sorted paths and texts, in hexadecimal.
    pub version: String,
}

impl<'p> From<&'p RulePack> for Cow<'p, RulePack> {
    fn from(pack: &'p RulePack) -> Self {
        Cow::Borrowed(pack)
    }
}

impl From<RulePack> for Cow<'_, RulePack> {
    fn from(pack: RulePack) -> Self {
        Cow::Owned(pack)
    }
}

/// Reads rule files. Their order does not matter.
pub fn load<'a>(files: impl IntoIterator<Item = RuleFile<'a>>) -> RulePack {
    load_with(files, &Pipelines::default())
}

/// Reads rule files and applies pipelines to the rules. A rule that they refuse can't be used.
pub fn load_with<'a>(files: impl IntoIterator<Item = RuleFile<'a>>, pipelines: &Pipelines) -> RulePack {
    let early = if pipelines.is_empty() { Some(lower_early as Early) } else { None };
    let Parsed { rules, correlations, filters, failed, warnings, version } = Parsed::read(files, pipelines, early);
    let mut pack = RulePack { failed, warnings, version, ..RulePack::default() };
    let mut usable_filters = Vec::new();
    for (file, filter, places) in filters {
        match lower(&filter.detection) {
            Ok(expr) => usable_filters.push((file, filter, places, expr)),
            Err(error) => pack.fail(file, &filter.title, places.issue(&error)),
        }
    }
    pack.filters = usable_filters.len();
    let (mut named, mut sources) = (Named::default(), Vec::new());
    for ReadRule { file, rule, places, lowered } in rules {
        let title = rule.title.clone();
        let names = [rule.id.clone(), rule.name.clone()];
        let at = places.at();
        match usable(rule, &places, lowered, file, &usable_filters, pipelines) {
            Ok((rule, source, warnings)) => {
                pack.warnings.extend(warnings.into_iter().map(|issue| issue.in_file(file.path, Some(&title))));
                named.of.add_rule(&names, &title, pack.rules.len());
                named.add(names, file, at, &mut pack.warnings);
                sources.push(source);
                pack.rules.push(rule);
            }
            Err(issue) => {
                named.of.refuse(names);
                pack.fail(file, &title, issue);
            }
        }
    }
    for (file, filter, places, _) in &usable_filters {
        for (name, at) in &places.references {
            let is_known = |rule: &Rule| rule.meta.id == *name || rule.meta.title == *name;
            if !named.of.has(name) && !pack.rules.iter().any(is_known) {
                let message =
                    format!("the filter is for `{name}`, and no rule has this id or name; it takes nothing away");
                pack.warnings
                    .push(Issue::new(*at, "unknown-reference", message).in_file(file.path, Some(&filter.title)));
            }
        }
    }
    for (file, read) in &correlations {
        named.add([read.rule.id.clone(), read.rule.name.clone()], *file, read.at, &mut pack.warnings);
    }
    correlate::link(&mut pack, correlations, (named.of, &sources), pipelines);
    pack
}

/// The rules by what others may call them.
#[derive(Default)]
struct Named<'f> {
    /// Where each name stands first.
    known: HashMap<String, (&'f str, Place)>,
    of: Names,
}

impl<'f> Named<'f> {
    fn add(&mut self, names: [Option<String>; 2], file: RuleFile<'f>, at: Place, warnings: &mut Vec<RuleFinding>) {
        let [id, name] = names;
        for (what, name) in [("id", id), ("name", name)] {
            let Some(name) = name else { continue };
            match self.known.entry(name) {
                Entry::Vacant(free) => drop(free.insert((file.path, at))),
                Entry::Occupied(known) => {
                    let (path, Place { line, column }) = known.get();
                    let message = format!(
                        "the rule at {path}:{line}:{column} has the same {what} `{}`, by which results and correlations name it",
                        known.key()
                    );
                    warnings.push(Issue::new(at, "duplicate-name", message).in_file(file.path, None));
                }
            }
        }
    }
}

impl RulePack {
    fn fail(&mut self, file: RuleFile<'_>, title: &str, issue: Issue) {
        self.failed.push(issue.in_file(file.path, Some(title)));
    }
}

/// A rule as it is to be compiled: after the pipelines, with the filters that are for it.
fn usable(
    rule: SigmaRule,
    places: &RulePlaces,
    lowered: Option<Result<Expr, Issue>>,
    file: RuleFile<'_>,
    filters: &[(RuleFile<'_>, FilterRule, Places, Expr)],
    pipelines: &Pipelines,
) -> Result<(Rule, LogSource, Vec<Issue>), Issue> {
    let (at, source_at) = (places.at(), places.source());
    let mut warnings = Vec::new();
    let filters = filters.iter().filter(|(_, filter, ..)| is_for(filter, &rule, file.path));
    let (rule, filters) = if pipelines.is_empty() {
        let filters = filters.map(|(.., expr)| expr.clone()).collect();
        (rule, filters)
    } else {
        let filters = filters.map(|(_, filter, ..)| filter.detection.clone()).collect();
        let (rule, filters) = pipelines.apply(rule, filters).map_err(|reason| Issue::new(at, "pipeline", reason))?;
        let filters: Result<Vec<_>, _> = filters.iter().map(lower).collect();
        warnings.extend(placeholders(&rule.detection).iter().map(|error| places.issue(error)));
        (rule, filters.map_err(|error| Issue::new(at, error.code, error.message))?)
    };
    let lowered = lowered.unwrap_or_else(|| lower(&rule.detection).map_err(|error| places.issue(&error)))?;
    let expr = filters.into_iter().fold(lowered, |expr, filter| Expr::All(vec![expr, filter]));
    Ok((Rule { meta: meta(&rule, file.path), source_at, expr }, rule.logsource, warnings))
}

/// What is to be said of placeholders that no pipeline has filled.
fn placeholders(detections: &Detections) -> Vec<LowerError> {
    fn in_part(detection: &Detection, steps: &mut Vec<Step>, found: &mut Vec<LowerError>) {
        match detection {
            Detection::AllOf(items) => {
                for (at, item) in items.iter().enumerate() {
                    for (value, name) in unfilled(item) {
                        let message = format!(
                            "no pipeline fills `%{name}%`, so the event's own field `{name}` stands for it; give a pipeline with \
                             `value_placeholders`, or write the values"
                        );
                        let steps = steps.iter().cloned().chain([Step::Part(at), Step::Value(value)]).collect();
                        found.push(LowerError { steps, ..LowerError::new("placeholder", message) });
                    }
                }
            }
            Detection::AnyOf(parts) | Detection::And(parts) => {
                for (at, part) in parts.iter().enumerate() {
                    steps.push(Step::Part(at));
                    in_part(part, steps, found);
                    steps.pop();
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, detection) in &detections.named {
        in_part(detection, &mut vec![Step::Selection(name.clone())], &mut found);
    }
    found
}

fn lower(detections: &Detections) -> Result<Expr, LowerError> {
    lower_conditions(&detections.named, &detections.conditions)
}

/// What is done with a rule as soon as its file has been read.
type Early = fn(&mut SigmaRule, &Places) -> Result<Expr, Issue>;

/// Leaves of a rule what is still to be looked at: thousands of them as the parser has them would take more memory than all that is
/// made of them.
fn lower_early(rule: &mut SigmaRule, places: &Places) -> Result<Expr, Issue> {
    let lowered = lower(&rule.detection).map_err(|error| places.issue(&error));
    let Detections { named, conditions, condition_strings, .. } = &mut rule.detection;
    (*named, *conditions, *condition_strings) = Default::default();
    (rule.description, rule.author, rule.references, rule.custom_attributes) = Default::default();
    lowered
}

/// A rule as it is to be compiled, with the filters for it by their titles.
pub(crate) struct Found {
    pub(crate) meta: RuleMeta,
    pub(crate) rule: SigmaRule,
    pub(crate) filters: Vec<(String, Detections)>,
}

/// The first rule of this id, name or title.
///
/// # Errors
/// When there is none, or it can't be used.
pub(crate) fn find_rule<'a>(
    files: impl IntoIterator<Item = RuleFile<'a>>,
    pipelines: &Pipelines,
    wanted: &str,
) -> Result<Found, RuleFinding> {
    let Parsed { rules, filters, failed, .. } = Parsed::read(files, pipelines, None);
    let is_wanted = |ReadRule { file, rule, .. }: &ReadRule<'_>| {
        id(rule, file.path) == wanted || rule.name.as_deref() == Some(wanted) || rule.title == wanted
    };
    let Some(ReadRule { file, rule, places, .. }) = rules.into_iter().find(is_wanted) else {
        // Of one that can't be read, the title is known.
        let title = format!("{wanted}: ");
        if let Some(finding) = failed.into_iter().find(|finding| finding.message.starts_with(&title)) {
            return Err(finding);
        }
        let message = format!("no rule has this id, name or title: {wanted}");
        return Err(RuleFinding {
            path: "the rules".to_owned(),
            line: None,
            column: None,
            code: "unknown-rule",
            message,
        });
    };
    let filters = filters.into_iter().filter(|(_, filter, _)| is_for(filter, &rule, file.path));
    let (titles, filters): (Vec<_>, _) = filters.map(|(_, filter, _)| (filter.title, filter.detection)).unzip();
    let title = rule.title.clone();
    let told = |issue: Issue| issue.in_file(file.path, Some(&title));
    let (rule, filters) = if pipelines.is_empty() {
        (rule, filters)
    } else {
        pipelines.apply(rule, filters).map_err(|reason| told(Issue::new(places.at(), "pipeline", reason)))?
    };
    lower(&rule.detection).map_err(|error| told(places.issue(&error)))?;
    Ok(Found { meta: meta(&rule, file.path), rule, filters: titles.into_iter().zip(filters).collect() })
}

/// A rule as its file has it.
struct ReadRule<'a> {
    file: RuleFile<'a>,
    rule: SigmaRule,
    places: RulePlaces,
    /// Its conditions, where they were lowered [early](lower_early).
    lowered: Option<Result<Expr, Issue>>,
}

/// Where a rule's parts are; of one that was lowered early only where it begins.
enum RulePlaces {
    Whole(Box<Places>),
    Beginning { at: Place, source: Place },
}

impl RulePlaces {
    fn at(&self) -> Place {
        match self {
            Self::Whole(places) => places.at,
            Self::Beginning { at, .. } => *at,
        }
    }

    fn source(&self) -> Place {
        match self {
            Self::Whole(places) => places.source,
            Self::Beginning { source, .. } => *source,
        }
    }

    fn issue(&self, error: &LowerError) -> Issue {
        match self {
            Self::Whole(places) => places.issue(error),
            Self::Beginning { at, .. } => Issue::new(*at, error.code, error.message.clone()),
        }
    }
}

/// What files have in them.
struct Parsed<'a> {
    rules: Vec<ReadRule<'a>>,
    correlations: Vec<(RuleFile<'a>, read::Correlation)>,
    filters: Vec<(RuleFile<'a>, FilterRule, Places)>,
    failed: Vec<RuleFinding>,
    warnings: Vec<RuleFinding>,
    version: String,
}

impl<'a> Parsed<'a> {
    fn read(files: impl IntoIterator<Item = RuleFile<'a>>, pipelines: &Pipelines, early: Option<Early>) -> Self {
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_unstable_by_key(|file| (file.path, file.text));
        let rules = files.iter().flat_map(|file| [file.path.as_bytes(), file.text.as_bytes()]);
        let changed = pipelines.sources.iter().flat_map(|(path, text)| [path.as_bytes(), text.as_bytes()]);
        let parts: Vec<_> = rules.chain(changed).collect();
        let mut parsed = Self {
            rules: Vec::new(),
            correlations: Vec::new(),
            filters: Vec::new(),
            failed: Vec::new(),
            warnings: Vec::new(),
            version: derived_id("", &parts).split_off(1),
        };
        files.into_iter().for_each(|file| parsed.read_file(file, early));
        parsed
    }

    fn read_file(&mut self, file: RuleFile<'a>, early: Option<Early>) {
        read::read(file.text, |Read { title, warnings, document }| {
            let told = |issue: Issue| issue.in_file(file.path, title.as_deref());
            // Of a rule that is not used nothing but that is of interest.
            if document.is_ok() {
                self.warnings.extend(warnings.into_iter().map(told));
            }
            match document {
                Ok(Document::Rule(mut rule, places)) => {
                    let found = if early.is_some() { placeholders(&rule.detection) } else { Vec::new() };
                    let (at, lowered) = (places.at, early.map(|early| early(&mut rule, &places)));
                    if matches!(lowered, Some(Ok(_))) {
                        self.warnings.extend(found.iter().map(|error| told(places.issue(error))));
                    }
                    let places = match lowered {
                        Some(_) => RulePlaces::Beginning { at, source: places.source },
                        None => RulePlaces::Whole(Box::new(places)),
                    };
                    self.rules.push(ReadRule { file, rule: *rule, places, lowered });
                }
                Ok(Document::Correlation(correlation)) => self.correlations.push((file, *correlation)),
                Ok(Document::Filter(filter, places)) => self.filters.push((file, *filter, places)),
                Err(issue) => self.failed.push(told(issue)),
            }
        });
    }
}

fn id(rule: &SigmaRule, path: &str) -> String {
    rule.id.clone().unwrap_or_else(|| derived_id("rule", &[path.as_bytes(), rule.title.as_bytes()]))
}

fn meta(rule: &SigmaRule, path: &str) -> RuleMeta {
    RuleMeta {
        id: id(rule, path),
        title: rule.title.clone(),
        level: rule.level.map_or(Level::Informational, level),
        tags: rule.tags.clone(),
        status: rule.status.map(|status| format!("{status:?}").to_lowercase()),
        logsource: RuleSource::of(&rule.logsource),
        falsepositives: rule.falsepositives.clone(),
        path: path.to_owned(),
        is_told: true,
    }
}

pub(crate) const fn level(level: rsigma_parser::Level) -> Level {
    match level {
        rsigma_parser::Level::Critical => Level::Critical,
        rsigma_parser::Level::High => Level::High,
        rsigma_parser::Level::Medium => Level::Medium,
        rsigma_parser::Level::Low => Level::Low,
        rsigma_parser::Level::Informational => Level::Informational,
    }
}

/// Whether a filter is for a rule.
fn is_for(filter: &FilterRule, rule: &SigmaRule, path: &str) -> bool {
    let named = match &filter.rules {
        FilterRuleTarget::Any => true,
        FilterRuleTarget::Specific(names) => {
            names.iter().any(|name| *name == id(rule, path) || *name == rule.title || Some(name) == rule.name.as_ref())
        }
    };
    let source = filter.logsource.as_ref().map(RuleSource::of).unwrap_or_default();
    named && source.covers(&RuleSource::of(&rule.logsource))
}
