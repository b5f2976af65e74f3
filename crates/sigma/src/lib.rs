//! Sigma rules compiled into one matcher.
//!
//! [`load`] reads rule files into a [`RulePack`]; [`Matcher::compile`] makes one matcher of it; [`Matcher::matches`] tells
//! which rules are true of an event. The README lists what of Sigma is understood and where this differs from others.
#![forbid(unsafe_code)]

mod bits;
mod cidr;
mod compile;
mod condition;
mod encode;
mod evidence;
mod fields;
mod fold;
mod glob;
mod guard;
mod literals;
mod load;
mod mapping;
mod matcher;
mod modifier;
mod predicate;
mod route;
mod scalar;
mod scratch;
mod trie;
mod trigger;

pub use load::{Rule, RuleFailure, RuleFile, RuleMeta, RulePack, RuleSource, load};
pub use mapping::{MappingError, Mappings};
pub use matcher::{Matcher, RuleIndex};
pub use route::Routing;
pub use scratch::Scratch;
