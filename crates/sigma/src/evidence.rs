//! What in an event made a rule true.

use cybervault_model::Evidence;

use crate::{
    compile::{Node, PredicateId},
    fields::FieldId,
    matcher::Run,
    predicate::append_text,
    scalar::Scalar,
};

/// How many values are shown.
const MAX_VALUES: usize = 16;

/// How many bytes of each.
const MAX_BYTES: usize = 256;

/// The fields and values that made the node true, each once.
pub(crate) fn collect(run: &mut Run<'_, '_>, node: u32) -> Vec<Evidence> {
    let mut found = Vec::new();
    visit(run, node, &mut found);
    found
}

fn visit(run: &mut Run<'_, '_>, node: u32, found: &mut Vec<Evidence>) {
    if found.len() >= MAX_VALUES || !run.holds(node) {
        return;
    }
    let conditions = &run.compiled.conditions;
    match conditions.nodes[node as usize] {
        Node::Is(predicate) => show(run, predicate, found),
        Node::AnyOf(predicates) => {
            for predicate in conditions.children(predicates) {
                if found.len() < MAX_VALUES && run.answer(*predicate) {
                    show(run, *predicate, found);
                }
            }
        }
        // That something is not so has no value to show.
        Node::Not(_) => {}
        Node::All(children) | Node::Any(children) | Node::AtLeast(_, children) => {
            for child in conditions.children(children) {
                visit(run, *child, found);
            }
        }
    }
}

fn show(run: &mut Run<'_, '_>, predicate: PredicateId, found: &mut Vec<Evidence>) {
    if let Some(evidence) = shown(run, predicate)
        && !found.contains(&evidence)
    {
        found.push(evidence);
    }
}

fn shown(run: &mut Run<'_, '_>, predicate: PredicateId) -> Option<Evidence> {
    let (field, value) = if run.compiled.questions[predicate as usize].field == FieldId::ANYWHERE {
        run.passing_text(predicate)?
    } else {
        let (path, value) = run.passing(predicate)?;
        (path.to_owned(), value)
    };
    let mut text = String::new();
    if !append_text(value, true, &mut text) {
        text.push_str(if value == Scalar::Null { "null" } else { "…" });
    }
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    Some(Evidence { field, value: text })
}
