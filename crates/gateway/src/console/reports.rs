//! Evidence of controls, on screen and on paper.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};
use maud::{Markup, html};

use super::{
    page::{PageError, bare, need, page as shell},
    parts,
    session::Visitor,
};
use crate::{
    app::App,
    http::{Framework, Period, Report},
    key::Scope,
};

/// `GET /reports`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let print = query.is_some_and(|query| query == "print");
    let report = Report::make(&app, &visitor.caller, None, Period::of_days(30)).await?;
    if print {
        return Ok(printable(&report));
    }
    let body = html! {
        header.head {
            div { h1 { "Reports" } p.muted { "Evidence of controls, the last 30 days" } }
            span.grow {}
            a.button href="/reports?print" { "To print" }
        }
        (tables(&report))
        p.muted.small { "As JSON or CSV, for any period: " code { "GET /v3/compliance/reports?framework=soc2&format=csv" } }
    };
    Ok(shell(&visitor, "/reports", "Reports", &body))
}

fn tables(report: &Report) -> Markup {
    html! {
        @for framework in Framework::ALL {
            @let controls: Vec<_> = report.controls.iter().filter(|control| control.framework == framework).collect();
            @if !controls.is_empty() {
                section.card {
                    h2 { (framework.title()) }
                    table.list.report {
                        thead { tr { th scope="col" { "Control" } th scope="col" { "Evidence" } th scope="col" {} } }
                        tbody { @for control in controls {
                            tr {
                                th scope="row" { span.technique { (control.control) } div { (control.title) } }
                                td { dl.facts { @for item in &control.evidence { dt { (item.measure) } dd { (parts::count(item.value)) } } } }
                                td { @if control.evidenced { span.state.state-approved { "evidenced" } } @else { span.state { "no evidence" } } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// A report as a page of its own, to be printed.
pub(crate) fn printable(report: &Report) -> Response {
    let body = html! {
        main.paper {
            h1 { "Evidence of security controls" }
            dl.facts {
                dt { "Tenant" } dd { (report.tenant_id) }
                dt { "Period" } dd { (report.period.from) " to " (report.period.to) }
                dt { "Made" } dd { (report.generated_at) }
            }
            (tables(report))
            p.muted.small { "It shows what was detected and done. Whether the rules and playbooks are the right ones is for people to judge." }
        }
    };
    bare("Evidence of security controls", &body)
}
