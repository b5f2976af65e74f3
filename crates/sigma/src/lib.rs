//! Sigma rules compiled into one matcher.
//!
//! [`load`] reads rule files into a [`RulePack`], [`load_with`] after [`Pipelines`] have changed the rules;
//! [`Matcher::compile`] makes one matcher of it; [`Matcher::matches`] tells which rules are true of an event. The README
//! lists what of Sigma is understood and where this differs from others.
#![forbid(unsafe_code)]

// Files into rules.
mod condition;
mod correlate;
mod dialect;
mod encode;
mod finding;
mod load;
mod modifier;
mod pipeline;
mod read;
mod yaml;

// What a rule asks of a value.
mod cidr;
mod fold;
mod glob;
mod predicate;
mod scalar;

// Where an event has its fields, and which rules it is for.
mod fields;
mod keys;
mod mapping;
mod route;
mod walk;

// Rules into tables.
mod compile;
mod grams;
mod guard;
mod literals;
mod packed;
mod substrings;
mod trie;
mod trigger;

// An event through the tables.
mod base;
mod bits;
mod evidence;
mod explain;
mod fresh;
mod matcher;
mod memo;
mod origin;
mod routes;
mod scratch;
mod see;
mod shape;
mod survey;
mod usual;

pub use correlate::{
    Comparison, Correlation, CorrelationAlias, CorrelationCriterion, CorrelationKind, Referred, RuleExpr,
};
pub use explain::{ExplainedLine, ExplainedSelection, Explainer, Explanation};
pub use finding::{FINDING_KINDS, RuleFinding};
pub use fold::fold_into;
pub use load::{Rule, RuleFile, RuleMeta, RulePack, RuleSource, load, load_with};
pub use mapping::{MappingError, Mappings};
pub use matcher::{EventFields, FieldValue, Matcher, RuleIndex};
pub use origin::{EventRoute, KeySet};
pub use pipeline::{PipelineError, PipelineFile, Pipelines};
pub use route::Routing;
pub use scratch::Scratch;
