//! Rule files read into a pack: what each rule is, what makes it true, and which ones can't be used.

use std::{borrow::Cow, fmt};

use cybervault_model::{Level, derived_id};
use rsigma_parser::{
    CorrelationRule, Detections, FilterRule, FilterRuleTarget, LogSource, SigmaRule, parse_sigma_yaml,
};
use serde::Serialize;

use crate::{
    condition::{Expr, lower_conditions},
    modifier::LowerError,
    pipeline::Pipelines,
};

/// A file of rules, read by the caller.
#[derive(Clone, Copy, Debug)]
pub struct RuleFile<'a> {
    /// Its path, as it is to be reported.
    pub path: &'a str,
    /// Its content: YAML, one or more documents.
    pub text: &'a str,
}

/// Why a document or rule can't be used. The others of its file are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}: {error}", self.place())]
pub struct RuleFailure {
    /// The file.
    pub path: String,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The column, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub error: String,
}

impl RuleFailure {
    /// Where in the file it is, `:line:column`, as far as that is known.
    pub fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            (Some(line), None) => format!(":{line}"),
            _ => String::new(),
        }
    }
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
    pub(crate) fn covers(&self, other: &Self) -> bool {
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
    pub(crate) expr: Expr,
}

/// Every rule of a set of files.
#[derive(Clone, Debug, Default)]
pub struct RulePack {
    /// The rules that can be used, in the order of their files' paths.
    pub rules: Vec<Rule>,
    /// Correlation rules: over several events, for a later stage.
    pub correlations: Vec<CorrelationRule>,
    /// How many filters were applied to the rules.
    pub filters: usize,
    /// What can't be used.
    pub failed: Vec<RuleFailure>,
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
    let Parsed { rules, correlations, filters, failed, version } = Parsed::read(files, pipelines, early);
    let mut pack = RulePack { failed, version, ..RulePack::default() };
    let mut usable_filters = Vec::new();
    for (file, filter) in filters {
        match lower(&filter.detection) {
            Ok(expr) => usable_filters.push((filter, expr)),
            Err(error) => pack.failed.push(failure(file, &filter.title, &error)),
        }
    }
    pack.filters = usable_filters.len();
    let mut sources = Vec::new();
    for ReadRule { file, rule, lowered } in rules {
        let title = rule.title.clone();
        let names = [rule.id.clone(), rule.name.clone()];
        match usable(rule, lowered, file, &usable_filters, pipelines) {
            Ok((rule, source)) => {
                pack.rules.push(rule);
                sources.push((names, source));
            }
            Err(error) => pack.failed.push(failure(file, &title, &error)),
        }
    }
    for (file, rule) in correlations {
        let referred = sources.iter().filter(|(names, _)| names.iter().flatten().any(|name| rule.rules.contains(name)));
        let referred = referred.map(|(_, source)| source.clone()).collect();
        let title = rule.title.clone();
        match pipelines.apply_to_correlation(rule, referred) {
            Ok(rule) => pack.correlations.push(rule),
            Err(reason) => pack.failed.push(failure(file, &title, &LowerError::new(reason).at(&title))),
        }
    }
    pack
}

/// A rule as it is to be compiled: after the pipelines, with the filters that are for it.
fn usable(
    rule: SigmaRule,
    lowered: Option<Lowered>,
    file: RuleFile<'_>,
    filters: &[(FilterRule, Expr)],
    pipelines: &Pipelines,
) -> Result<(Rule, LogSource), LowerError> {
    let filters = filters.iter().filter(|(filter, _)| is_for(filter, &rule, file.path));
    let (rule, filters) = if pipelines.is_empty() {
        let filters = filters.map(|(_, expr)| expr.clone()).collect();
        (rule, filters)
    } else {
        let filters = filters.map(|(filter, _)| filter.detection.clone()).collect();
        let (rule, filters) = through(pipelines, rule, filters)?;
        (rule, filters.iter().map(lower).collect::<Result<Vec<_>, _>>()?)
    };
    let lowered = lowered.unwrap_or_else(|| lower(&rule.detection))?;
    let expr = filters.into_iter().fold(lowered, |expr, filter| Expr::All(vec![expr, filter]));
    Ok((Rule { meta: meta(&rule, file.path), expr }, rule.logsource))
}

/// A rule and its filters after the pipelines.
fn through(
    pipelines: &Pipelines,
    rule: SigmaRule,
    filters: Vec<Detections>,
) -> Result<(SigmaRule, Vec<Detections>), LowerError> {
    if pipelines.is_empty() {
        return Ok((rule, filters));
    }
    let title = rule.title.clone();
    pipelines.apply(rule, filters).map_err(|reason| LowerError::new(reason).at(&title))
}

type Lowered = Result<Expr, LowerError>;

fn lower(detections: &Detections) -> Lowered {
    lower_conditions(&detections.named, &detections.conditions)
}

/// What is done with a rule as soon as its file has been read.
type Early = fn(&mut SigmaRule) -> Lowered;

/// Leaves of a rule what is still to be looked at: thousands of them as the parser has them would take more memory than all that is
/// made of them.
fn lower_early(rule: &mut SigmaRule) -> Lowered {
    let lowered = lower(&rule.detection);
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
) -> Result<Found, RuleFailure> {
    let Parsed { rules, filters, .. } = Parsed::read(files, pipelines, None);
    let is_wanted = |ReadRule { file, rule, .. }: &ReadRule<'_>| {
        id(rule, file.path) == wanted || rule.name.as_deref() == Some(wanted) || rule.title == wanted
    };
    let Some(ReadRule { file, rule, .. }) = rules.into_iter().find(is_wanted) else {
        let error = format!("no rule has this id, name or title: {wanted}");
        return Err(RuleFailure { path: "the rules".to_owned(), line: None, column: None, error });
    };
    let filters = filters.into_iter().filter(|(_, filter)| is_for(filter, &rule, file.path));
    let (titles, filters): (Vec<_>, _) = filters.map(|(_, filter)| (filter.title, filter.detection)).unzip();
    let title = rule.title.clone();
    let (rule, filters) = through(pipelines, rule, filters).map_err(|error| failure(file, &title, &error))?;
    lower(&rule.detection).map_err(|error| failure(file, &title, &error))?;
    Ok(Found { meta: meta(&rule, file.path), rule, filters: titles.into_iter().zip(filters).collect() })
}

/// A rule as its file has it.
struct ReadRule<'a> {
    file: RuleFile<'a>,
    rule: SigmaRule,
    /// Its conditions, where they were lowered [early](lower_early).
    lowered: Option<Lowered>,
}

/// What files have in them.
struct Parsed<'a> {
    rules: Vec<ReadRule<'a>>,
    correlations: Vec<(RuleFile<'a>, CorrelationRule)>,
    filters: Vec<(RuleFile<'a>, FilterRule)>,
    failed: Vec<RuleFailure>,
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
            version: derived_id("", &parts).split_off(1),
        };
        files.into_iter().for_each(|file| parsed.read_file(file, early));
        parsed
    }

    fn read_file(&mut self, file: RuleFile<'a>, early: Option<Early>) {
        let collection = match parse_sigma_yaml(file.text) {
            Ok(collection) => collection,
            Err(error) => return self.fail(file, error.to_string()),
        };
        let usable = collection.len();
        self.rules.extend(collection.rules.into_iter().map(|mut rule| {
            let lowered = early.map(|early| early(&mut rule));
            ReadRule { file, rule, lowered }
        }));
        self.correlations.extend(collection.correlations.into_iter().map(|rule| (file, rule)));
        self.filters.extend(collection.filters.into_iter().map(|filter| (file, filter)));
        for error in collection.errors {
            // An empty document at the end of a file (`---`) is nobody's mistake.
            let empty_document = usable > 0 && error.contains("not a YAML mapping");
            if !empty_document && !is_warning(&error) {
                self.fail(file, error);
            }
        }
    }

    fn fail(&mut self, file: RuleFile<'_>, error: String) {
        let (line, column) = place_in(&error, file.text);
        self.failed.push(RuleFailure { path: file.path.to_owned(), line, column, error });
    }
}

/// Whether the parser only remarks on something and has returned the rule all the same.
fn is_warning(error: &str) -> bool {
    ["invalid status", "invalid level", "invalid sigma-version", "'related'", "related["]
        .iter()
        .any(|start| error.starts_with(start))
}

fn failure(file: RuleFile<'_>, title: &str, error: &LowerError) -> RuleFailure {
    // Look below the rule's own title: an earlier rule of the file may have the same line.
    let start = file.text.find(title).unwrap_or(0);
    let found = error.at.as_deref().filter(|at| !at.is_empty()).and_then(|at| file.text[start..].find(at));
    let (line, column) = match found {
        Some(offset) => {
            let before = &file.text[..start + offset];
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            (Some(count(before.matches('\n').count())), Some(count(before[line_start..].chars().count())))
        }
        None => (None, None),
    };
    RuleFailure { path: file.path.to_owned(), line, column, error: format!("{title}: {}", error.message) }
}

/// From counting what comes before to counting from 1.
fn count(before: usize) -> u32 {
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

/// The place that the parser names in its message: a YAML error counts in the file, a condition's in the condition.
fn place_in(error: &str, text: &str) -> (Option<u32>, Option<u32>) {
    let number_after = |text: &str, word: &str| {
        let rest = &text[text.find(word)? + word.len()..];
        rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
    };
    if let Some(line) = number_after(error, " at line ") {
        return (Some(line), number_after(error, " column "));
    }
    if error.starts_with("Condition") {
        let line = text.lines().position(|line| line.trim_start().starts_with("condition:"));
        return (line.map(count), None);
    }
    // The parser's other messages quote what they are about.
    let quoted = error.split('\'').nth(1).filter(|quoted| !quoted.is_empty());
    let offset = quoted.and_then(|quoted| text.find(&format!("|{quoted}")));
    (offset.map(|offset| count(text[..offset].matches('\n').count())), None)
}

fn id(rule: &SigmaRule, path: &str) -> String {
    rule.id.clone().unwrap_or_else(|| derived_id("rule", &[path.as_bytes(), rule.title.as_bytes()]))
}

fn meta(rule: &SigmaRule, path: &str) -> RuleMeta {
    RuleMeta {
        id: id(rule, path),
        title: rule.title.clone(),
        level: match rule.level {
            Some(rsigma_parser::Level::Critical) => Level::Critical,
            Some(rsigma_parser::Level::High) => Level::High,
            Some(rsigma_parser::Level::Medium) => Level::Medium,
            Some(rsigma_parser::Level::Low) => Level::Low,
            Some(rsigma_parser::Level::Informational) | None => Level::Informational,
        },
        tags: rule.tags.clone(),
        status: rule.status.map(|status| format!("{status:?}").to_lowercase()),
        logsource: RuleSource::of(&rule.logsource),
        falsepositives: rule.falsepositives.clone(),
        path: path.to_owned(),
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
