//! What an incident is called: what a person would write over it.

use cybervault_model::{EntityKind, Incident, IncidentEntity};

use crate::finding::clean;

const MAX_CHARS: usize = 200;

/// The title, in one line.
pub(crate) fn title(incident: &Incident) -> String {
    let what = what(incident);
    clean(&format!("{what}{}{}", on(incident), by(incident)), MAX_CHARS)
}

/// The tactics as a course of events, or the worst rule where there is no course.
fn what(incident: &Incident) -> String {
    let names: Vec<String> = incident.tactics.iter().map(|tactic| tactic.tactic.to_lowercase()).collect();
    match &names[..] {
        [] | [_] => {
            let worst = incident.rules.iter().max_by(|a, b| {
                a.weight
                    .total_cmp(&b.weight)
                    .then(a.level.cmp(&b.level))
                    .then(b.first_at.cmp(&a.first_at))
                    .then(b.id.cmp(&a.id))
            });
            worst.map_or_else(|| "Findings".to_owned(), |rule| rule.title.clone())
        }
        [first, second] => capital(&format!("{first}, then {second}")),
        [first, second, third] => capital(&format!("{first}, {second}, then {third}")),
        [first, .., last] => format!("Attack in {} steps, {first} to {last},", names.len()),
    }
}

fn named(incident: &Incident, kind: EntityKind) -> Vec<&IncidentEntity> {
    let mut named: Vec<&IncidentEntity> = incident.entities.iter().filter(|entity| entity.kind == kind).collect();
    // Those that most was found about; of these, the first.
    named.sort_by_key(|entity| std::cmp::Reverse(entity.findings));
    named
}

fn on(incident: &Incident) -> String {
    match &named(incident, EntityKind::Host)[..] {
        [] => String::new(),
        [host] => format!(" on {}", host.value),
        [first, second] => format!(" on {} and {}", first.value, second.value),
        [first, others @ ..] => format!(" on {} and {} other hosts", first.value, others.len()),
    }
}

/// Who did it, where that is anyone in particular.
fn by(incident: &Incident) -> String {
    let mut users = named(incident, EntityKind::User);
    users.retain(|user| user.joins);
    match &users[..] {
        [] if named(incident, EntityKind::Host).is_empty() => {
            let addresses = named(incident, EntityKind::Ip);
            addresses.first().map_or_else(String::new, |address| format!(", {}", address.value))
        }
        [] => String::new(),
        [user] => format!(" by {}", user.value),
        [first, second] => format!(" by {} and {}", first.value, second.value),
        [first, others @ ..] => format!(" by {} and {} other accounts", first.value, others.len()),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}
