//! Where an event has its fields, asked field by field: for the few that have findings.

use cybervault_model::{TelemetryEvent, json::KeyBits};

use crate::{
    fields::{follow, follow_path, places},
    mapping::{FieldPaths, Mapping},
    scalar::Scalar,
};

/// Which mapping an event fits, and the fields that only its source has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'m> {
    pub(crate) mapping: Option<&'m Mapping>,
    pub(crate) own: Option<&'m FieldPaths>,
    /// The event's keys.
    pub(crate) keys: KeyBits,
}

impl Layout<'_> {
    /// The values of a Sigma field, found as the mapping says, with what belongs in front of each.
    pub(crate) fn field_values<'e>(
        &self,
        event: &TelemetryEvent<'e>,
        field: &str,
        found: &mut impl FnMut(&str, Scalar<'e>),
    ) {
        let follow_path = |path: &str, found: &mut dyn FnMut(Scalar<'e>)| {
            if self.keys.may_lead(path) {
                follow_path(event.payload.value(), path, &mut |value| found(value));
            }
        };
        let mut any = false;
        let mut give = |before: &str, value: Scalar<'e>| {
            any = true;
            found(before, value);
        };
        if field.contains('.') && self.keys.may_have(field) {
            follow(event.payload.value(), &[field], 0, &mut |value| give("", value));
        }
        follow_path(field, &mut |value| give("", value));
        let Some(mapping) = self.mapping else { return };
        for place in places(field, &mapping.inside).skip(1) {
            follow_path(&place, &mut |value| give("", value));
        }
        for paths in [Some(&mapping.fields), self.own].into_iter().flatten().filter_map(|fields| fields.get(field)) {
            for path in paths {
                if path.is_otherwise() && any {
                    continue;
                }
                for place in places(path.path(), &mapping.inside) {
                    follow_path(&place, &mut |value| {
                        any = true;
                        found(path.before(), value);
                    });
                }
            }
        }
    }
}
