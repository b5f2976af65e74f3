//! Small pieces that several pages are made of.

use cybervault_model::{ActionMode, ActionState, Assessment, AttackRef, Entity, ResponseAction, Severity, Timestamp};
use maud::{Markup, PreEscaped, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::page::PageError;
use crate::store::{StoreError, now};

pub(super) const LOGO: &str = concat!(
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24" fill="none">"##,
    r##"<path d="M12 2l8 3v6c0 5.2-3.3 9-8 11-4.7-2-8-5.8-8-11V5z" fill="#4f7cff"/>"##,
    r##"<path d="M7 12h3l2-5 2 9 1.500-4H18" stroke="#fff" stroke-width="1.700" stroke-linecap="round" stroke-linejoin="round"/></svg>"##
);

pub(super) fn logo() -> Markup {
    html! { span.logo aria-hidden="true" { (PreEscaped(LOGO)) } }
}

pub(super) fn icon(path: &str) -> Markup {
    html! {
        svg.icon viewBox="0 0 24 24" width="16" height="16" aria-hidden="true" focusable="false" { path d=(path) {} }
    }
}

/// A stored finding, as pages show it.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    #[serde(flatten)]
    pub(super) assessment: Assessment,
    pub(super) created_at: Timestamp,
}

pub(super) fn found(document: &RawValue) -> Result<Found, PageError> {
    read(document)
}

pub(super) fn action(document: &RawValue) -> Result<ResponseAction, PageError> {
    read(document)
}

fn read<'de, T: Deserialize<'de>>(document: &'de RawValue) -> Result<T, PageError> {
    let read = serde_json::from_str(document.get());
    read.map_err(|error| StoreError::Unreadable { what: "a document", reason: error.to_string() }.into())
}

impl Found {
    /// What it is called: the heaviest of its reasons.
    pub(super) fn title(&self) -> &str {
        self.assessment.contributions.first().map_or("Nothing found", |first| &first.title)
    }
}

pub(super) fn severity(severity: Severity) -> Markup {
    let name = severity.as_str();
    html! { span class={ "sev sev-" (name) } { (name) } }
}

/// A score as a number and a bar.
pub(super) fn score(points: u8, severity: Severity) -> Markup {
    html! {
        span class={ "score sev-" (severity.as_str()) } {
            span.num { (points) }
            svg viewBox="0 0 100 6" width="56" height="6" preserveAspectRatio="none" aria-hidden="true" {
                rect.track width="100" height="6" rx="3" {}
                rect.fill width=(points) height="6" rx="3" {}
            }
        }
    }
}

/// A time of day, with the date where it is not today.
pub(super) fn moment(at: Timestamp) -> Markup {
    let (text, today) = (at.to_string(), now().to_string());
    let (date, clock) = (text.get(..10).unwrap_or(""), text.get(11..19).unwrap_or(""));
    html! {
        time datetime=(text) title={ (text) } {
            @if Some(date) != today.get(..10) { span.date { (date) } " " }
            (clock)
        }
    }
}

/// How long until, or since.
pub(super) fn distance(millis: i64) -> String {
    let seconds = millis.abs() / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(super) fn entity(entity: &Entity) -> Markup {
    html! { a.entity href=(entity_path(entity.kind.as_str(), &entity.value)) { span.kind { (entity.kind.as_str()) } (entity.value) } }
}

pub(super) fn entity_path(kind: &str, value: &str) -> String {
    format!("/entities/{kind}/{}", utf8_percent_encode(value, NON_ALPHANUMERIC))
}

/// Techniques, each once.
pub(super) fn techniques(all: &[AttackRef], most: usize) -> Markup {
    let mut ids: Vec<(&str, &str)> = Vec::new();
    for found in all {
        let (id, name) = if found.technique_id.is_empty() {
            (&*found.tactic_id, &*found.tactic)
        } else {
            (&*found.technique_id, &*found.technique)
        };
        if !ids.iter().any(|(known, _)| *known == id) {
            ids.push((id, name));
        }
    }
    html! {
        @for (id, name) in ids.iter().take(most) { span.technique title=(name) { (id) } " " }
        @if ids.len() > most { span.muted.small { "+" (ids.len() - most) } }
    }
}

pub(super) fn action_state(action: &ResponseAction) -> Markup {
    if action.state == ActionState::Proposed && action.mode == ActionMode::DryRun {
        return html! { span.state title="only said by its playbook, never done" { "dry run" } };
    }
    let state = action.state.as_str();
    html! { span class={ "state state-" (state) } { (state) } }
}

/// `isolate_host` as `isolate host`.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// `12345` as `12 345`.
pub(super) fn count(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut text = if number < 0 { "−".to_owned() } else { String::new() };
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A column chart: values with what each says when pointed at.
pub(super) fn columns(values: &[(i64, String)], label: &str) -> Markup {
    let (width, height) = (720_i64, 96_i64);
    let most = values.iter().map(|(value, _)| *value).max().unwrap_or(0).max(1);
    let step = width / i64::try_from(values.len().max(1)).unwrap_or(1);
    html! {
        svg.columns viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(label) preserveAspectRatio="none" {
            @for n in 1..4 { line.grid x1="0" x2=(width) y1=(height * n / 4) y2=(height * n / 4) {} }
            @for (n, (value, title)) in (0..).zip(values) {
                @let tall = if *value == 0 { 0 } else { (value * (height - 6) / most).max(2) };
                rect x=(n * step + 1) y=(height - tall) width=((step - 2).max(1)) height=(tall) { title { (title) } }
            }
        }
    }
}
