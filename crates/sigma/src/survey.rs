//! Where an event has its values, taken down once for all that have the same keys.

use cybervault_model::json::{Element, Recurring};

use crate::{
    bits,
    fields::{FieldId, FieldTable},
    routes::{Keywords, Route},
    scratch::UsualSlots,
    usual::{Item, Items},
    walk::Sink,
};

/// What a walk over an event has come upon.
pub(crate) struct Survey<'r, 'e> {
    table: &'r FieldTable,
    /// What is asked of events on their route, if the values are to be looked at.
    route: Option<&'r Route>,
    recurring: Option<Recurring<'e>>,
    items: Items,
    slots: Vec<(FieldId, u32, usize)>,
}

impl<'r, 'e> Survey<'r, 'e> {
    pub(crate) fn of(event: Element<'e>, table: &'r FieldTable, route: Option<&'r Route>) -> Self {
        let recurring = event.recurring();
        let mut survey = Self { table, route, recurring, items: Items::default(), slots: Vec::new() };
        table.walk(event, &mut survey);
        survey
    }

    /// The values that are looked at, and where each of that many fields has its values.
    pub(crate) fn end(self, fields: usize) -> (Items, UsualSlots) {
        (self.items, UsualSlots::new(fields, self.slots))
    }
}

impl<'e> Sink<'e> for Survey<'_, 'e> {
    fn value(&mut self, place: u32, targets: &[u32], value: Element<'e>) {
        let of = |id: &u32| &self.table.targets[*id as usize];
        self.slots.extend(targets.iter().map(|id| (of(id).field, *id, value.number())));
        let Some(route) = self.route else { return };
        let asked: Box<[u32]> =
            targets.iter().copied().filter(|id| bits::has(&route.allowed.fields, of(id).field.index())).collect();
        let at = self.recurring.and_then(|recurring| recurring.place(value));
        if !asked.is_empty() || at.is_some() && self.wants_others() {
            let is_plain = asked.iter().all(|id| of(id).before.is_empty());
            self.items.add(Item::new(place, asked, is_plain), at);
        }
    }

    fn wants_others(&self) -> bool {
        self.route.is_some_and(|route| matches!(route.keywords, Keywords::ByValue { .. }))
    }

    fn misses(&self, field: FieldId) -> bool {
        !self.slots.iter().any(|(known, ..)| *known == field)
    }
}
