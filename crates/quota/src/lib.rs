//! Admission: plans and buckets, decided on the record's own time.
//!
//! A tenant's plan and its overrides ([`Plans`], [`parse_tenants`]) are compiled once into an [`Admission`], whose
//! [`Compiled`] tenants then decide on every event with nothing but the partition's [`Holding`] and the record's time. A
//! holding is 209 bytes of state that the caller keeps. It is a share of the tenant's rate and burst, which the owner of the
//! tenant's [`Ledger`] moves to where events come: a partition tells its [`Usage`], the owner answers by a [`Grant`]. A share
//! is what was granted less what was given back, so the shares of all partitions together are never more than the whole.
//!
//! # What a quota means
//!
//! Two limits, events a second and bytes a second, are checked together: an event is charged to both or to neither.
//! Each is a bucket that holds **one second's worth plus the plan's burst** and drains at the plan's rate. Worked
//! example, Starter (100 events/s, burst 15 %): after a pause 115 events may come at one instant; the 116th is rejected
//! with `retry_after_ms: 10`, and from then on one is admitted every 10 ms. In any stretch of `t` seconds at most
//! `115 + 100·t` events are admitted.
//!
//! An event larger than the whole bucket (300 KiB on Starter's 256 KiB/s plus 15 %) would never fit. It is admitted when
//! the bucket is empty, is charged in full, and so is paid for by a longer wait of what follows: the rate holds, and
//! nothing is rejected for ever.
//!
//! # Whose time
//!
//! Time is the record's timestamp and only ever moves forward in a bucket: a record older than one already seen is judged
//! as of that one, so being out of order neither refills a bucket nor costs anything. Where senders write that timestamp
//! (`CreateTime`, Kafka's default), they can also buy themselves quota by writing a later one; Kafka refuses what is more
//! than an hour ahead (`message.timestamp.after.max.ms`), and a topic with `message.timestamp.type=LogAppendTime` leaves
//! the sender no say.
#![forbid(unsafe_code)]

mod plans;
mod tenants;

mod admission;
mod bucket;
mod holding;
mod ledger;
mod share;

pub use admission::{Admission, Compiled, Decision};
pub use holding::Holding;
pub use ledger::Ledger;
pub use plans::{InvalidRates, MAX_BURST_PERCENT, MAX_BYTES_PER_SECOND, MAX_EVENTS_PER_SECOND, Plans, Rates};
pub use share::{Amounts, Grant, Spread, Usage, WHOLE};
pub use tenants::{MAX_TENANTS, TenantsError, TenantsFile, parse_tenants};
