//! `cybervault bench`.

use anyhow::bail;

use super::Answer;
use crate::{cli::BenchCommand, config::Config};

pub(super) fn run(_: BenchCommand, _: Config) -> anyhow::Result<Answer> {
    bail!("`bench` is not there yet")
}
