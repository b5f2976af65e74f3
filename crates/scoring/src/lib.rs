//! Hits and their context become one explained assessment.
//!
//! A [`Scorer`] weighs what was found in an event ([`Hit`]s) by level and joins the weights as noisy-or,
//! `100·(1-∏(1-wᵢ))`: each contribution alone would leave a doubt of `1-wᵢ`, and all of them together leave the product of
//! these doubts. With the default weights one high hit scores 70, two score 91, a high and a medium one 82. The order in
//! which hits come changes nothing, and [`score`] gives the same from an assessment's contributions alone.
#![forbid(unsafe_code)]

mod weights;

mod attack;
mod entities;
mod recommend;
mod scorer;

mod ocsf;

pub use attack::{Attack, AttackTable, InvalidAttackTable};
pub use entities::{FieldValues, fields};
pub use ocsf::to_ocsf;
pub use scorer::{About, Correlated, Hit, Scorer, score};
pub use weights::{InvalidWeights, LevelWeights, SeverityThresholds, VerdictThresholds, Weights};
