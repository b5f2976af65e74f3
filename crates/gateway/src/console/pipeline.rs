//! Throughput, latency and lag of the whole pipeline: for those who administer.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::html;

use super::{
    page::{PageError, need, page as shell},
    parts,
    session::Visitor,
};
use crate::{app::App, key::Scope};

/// `GET /pipeline`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, PageError> {
    need(&visitor, Scope::Admin)?;
    let (samples, problems, latency) = (app.monitor.samples(), app.condition.problems(), app.latency.quantiles());
    let last = samples.last();
    let first = last.and_then(|sample| sample.groups.first());
    let lag: i64 = last.map_or(0, |sample| sample.groups.iter().map(|group| group.lag).sum());
    let seconds = |quantile: Option<f64>| {
        quantile.map_or_else(
            || "—".to_owned(),
            |seconds| match seconds {
                0.0..1.0 => format!("{:.0} ms", seconds * 1e3),
                _ => format!("{seconds:.1} s"),
            },
        )
    };
    #[expect(clippy::cast_possible_truncation, reason = "a rate, far below 2^63")]
    let whole = |rate: f64| rate.round() as i64;
    let chart = |name: &str, value: &dyn Fn(&crate::monitor::GroupSample) -> i64| -> Vec<(i64, String)> {
        samples
            .iter()
            .filter_map(|sample| {
                let value = value(sample.groups.first()?);
                Some((value, format!("{value} {name} at {}", sample.at.to_string().get(11..19).unwrap_or(""))))
            })
            .collect()
    };
    let body = html! {
        header.head { div { h1 { "Pipeline" } p.muted { "The whole fleet, from its topics and consumer groups; every 3 s" } } }
        @for problem in &problems { p.note.problem role="alert" { (problem.line()) } }
        section.tiles {
            div.tile { span.n { (first.map_or("—".to_owned(), |group| parts::count(whole(group.in_per_second)))) } span.l { "events a second in" } }
            div.tile { span.n { (first.map_or("—".to_owned(), |group| parts::count(whole(group.done_per_second)))) } span.l { "events a second done" } }
            div class={ "tile" @if lag > 10_000 { " sev-high" } } { span.n { (parts::count(lag)) } span.l { "records waiting" } }
            div.tile { span.n { (seconds(latency.0)) } span.l { "record to store, median" } }
            div.tile { span.n { (seconds(latency.1)) } span.l { "record to store, 99 %" } }
        }
        section.card { h2 { "Events a second" } (parts::columns(&chart("events a second", &|group| whole(group.done_per_second)), "Events a second over the last quarter of an hour")) }
        section.card { h2 { "Lag" } (parts::columns(&chart("records waiting", &|group| group.lag), "Records waiting over the last quarter of an hour")) }
        section.card {
            h2 { "Stages" }
            table.list {
                thead { tr { th scope="col" { "Consumer group" } th.num scope="col" { "In /s" } th.num scope="col" { "Done /s" } th.num scope="col" { "Lag" } } }
                tbody { @for group in last.iter().flat_map(|sample| &sample.groups) {
                    tr { td.mono { (group.group) } td.num { (format!("{:.1}", group.in_per_second)) } td.num { (format!("{:.1}", group.done_per_second)) } td.num { (parts::count(group.lag)) } }
                } }
            }
            @if last.is_none() { p.muted { "No sample yet." } }
        }
    };
    Ok(shell(&visitor, "/pipeline", "Pipeline", &body))
}
