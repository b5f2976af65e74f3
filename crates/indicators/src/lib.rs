//! Indicators of compromise beside rules: hashes, addresses and networks, domains and URLs that somebody has listed.
//!
//! [`Feed`]s are read into a [`Builder`], which becomes [`Indicators`]: immutable, shared by threads, swapped as a whole.
//! [`Indicators::find`] looks at every text of an event, whatever its field is called: into a command line for the URL that
//! it fetches, into Sysmon's `Hashes`, into a list of addresses. So it needs no mapping, and a log that nobody has described
//! yet is looked at like any other.
//!
//! Every answer is exact: tables hold whole digests and names, and no filter answers in their place.
#![forbid(unsafe_code)]

mod value;

mod about;
mod builder;
mod feed;
mod find;
mod set;
mod table;

pub use about::About;
pub use builder::{Builder, FeedReport};
pub use feed::{Feed, FeedError, Format};
pub use find::Found;
pub use set::Indicators;
pub use value::Kind;
