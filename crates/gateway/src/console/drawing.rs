//! Who and what of an incident is connected, as a drawing: hosts on one side, all else on the other, a line where they stand in a
//! finding together. The list beside it says the same in words.

use cybervault_model::{EntityKind, Incident, IncidentEntity};
use maud::{Markup, html};

use super::parts::entity_path;

/// Of each side.
const MOST: usize = 12;
/// Of a kind that there are many of: these must not push out the others.
const MOST_OF_A_KIND: usize = 4;
/// In the drawing's own units, of which a telephone shows as many as it has points.
const WIDTH: usize = 360;
const BOX: usize = 150;
const HEIGHT: usize = 30;
const STEP: usize = 40;
/// Letters that a box has room for.
const LETTERS: usize = 20;

struct Node<'a> {
    entity: &'a IncidentEntity,
    y: usize,
}

/// The drawing; nothing where there is nothing to connect.
pub(super) fn drawing(incident: &Incident) -> Markup {
    let has_hosts = incident.entities.iter().any(|entity| entity.kind == EntityKind::Host);
    let hub = if has_hosts { EntityKind::Host } else { EntityKind::User };
    let side = |is_hub: bool| -> Vec<Node<'_>> {
        let mut side: Vec<&IncidentEntity> =
            incident.entities.iter().filter(|entity| (entity.kind == hub) == is_hub).collect();
        // Those that findings are joined by, and that most was found about.
        side.sort_by_key(|entity| (!entity.joins, std::cmp::Reverse(entity.findings)));
        let mut of_kind = [0; EntityKind::ALL.len()];
        side.retain(|entity| {
            of_kind[entity.kind as usize] += 1;
            entity.kind == hub || of_kind[entity.kind as usize] <= MOST_OF_A_KIND
        });
        side.truncate(MOST);
        side.sort_by_key(|entity| entity.kind);
        side.into_iter().enumerate().map(|(n, entity)| Node { entity, y: n * STEP + 4 }).collect()
    };
    let (left, right) = (side(false), side(true));
    let height = left.len().max(right.len()) * STEP + 4;
    let lines = lines(incident, &left, &right);
    let hub_pairs = hub_pairs(incident, &right);
    html! {
        @if !left.is_empty() || !right.is_empty() {
            svg.drawing viewBox={ "0 0 " (WIDTH) " " (height) } role="group" aria-label="Which entities stand in findings together" {
                @for (from, to, count) in &lines {
                    line.edge x1=(BOX) y1=(from + HEIGHT / 2) x2=(WIDTH - BOX) y2=(to + HEIGHT / 2) stroke-width=(thickness(*count)) {
                        title { (count) " findings" }
                    }
                }
                @for (from, to) in &hub_pairs {
                    path.edge.between d={ "M" (WIDTH - BOX) " " (from + HEIGHT / 2) " Q" (WIDTH - BOX - 46) " " ((from + to + HEIGHT) / 2)
                        " " (WIDTH - BOX) " " (to + HEIGHT / 2) } {}
                }
                @for node in &left { (shape(node, 0)) }
                @for node in &right { (shape(node, WIDTH - BOX)) }
            }
        }
    }
}

/// Lines between the sides: from where to where, and in how many findings.
fn lines(incident: &Incident, left: &[Node<'_>], right: &[Node<'_>]) -> Vec<(usize, usize, u64)> {
    let mut lines = Vec::new();
    for one in left {
        for other in right {
            let together = incident.timeline.iter().filter(|entry| has(entry, one.entity) && has(entry, other.entity));
            let count: u64 = together.map(|entry| entry.findings).sum();
            if count > 0 {
                lines.push((one.y, other.y, count));
            }
        }
    }
    lines
}

/// Hosts that stand in findings together.
fn hub_pairs(incident: &Incident, right: &[Node<'_>]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (n, one) in right.iter().enumerate() {
        for other in &right[n + 1..] {
            if incident.timeline.iter().any(|entry| has(entry, one.entity) && has(entry, other.entity)) {
                pairs.push((one.y, other.y));
            }
        }
    }
    pairs
}

fn has(entry: &cybervault_model::TimelineEntry, entity: &IncidentEntity) -> bool {
    entry.entities.iter().any(|found| {
        found.kind == entity.kind
            && (found.value.eq_ignore_ascii_case(&entity.value)
                || found.kind == EntityKind::Host
                    && cybervault_model::host_identity(&found.value) == cybervault_model::host_identity(&entity.value))
    })
}

const fn thickness(count: u64) -> &'static str {
    match count {
        0..=1 => "1",
        2..=9 => "2",
        _ => "3",
    }
}

fn shape(node: &Node<'_>, x: usize) -> Markup {
    let IncidentEntity { kind, value, joins, .. } = node.entity;
    let name = value.rsplit(['\\', '/']).next().filter(|name| !name.is_empty()).unwrap_or(value);
    // Of a path the last part; of an account, too, whose domain is in the title.
    let name = if matches!(kind, EntityKind::Process | EntityKind::File | EntityKind::User) { name } else { value };
    let shown: String = if name.chars().count() > LETTERS {
        name.chars().take(LETTERS - 1).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    html! {
        a href=(entity_path(kind.as_str(), value)) {
            title { (kind.as_str()) " " (value) }
            rect class={ "node kind-" (kind.as_str()) @if !joins { " faint" } } x=(x) y=(node.y) width=(BOX) height=(HEIGHT) rx="6" {}
            text.kind x=(x + 8) y=(node.y + 11) { (kind.as_str()) }
            text x=(x + 8) y=(node.y + 24) { (shown) }
        }
    }
}
