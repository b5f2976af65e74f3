//! What of an event correlations need.

use cybervault_sigma::fold_into;

use crate::number::decimal;

/// How many values of one field are taken; an event belongs to the group of each.
const MOST_VALUES: usize = 64;

/// An event that rules are true of, as far as correlations need it.
#[derive(Clone, Copy, Debug)]
pub struct Signal<'s> {
    /// Whose it is. Two tenants' signals never meet.
    pub tenant: &'s str,
    /// The event's id.
    pub event_id: &'s str,
    /// When it happened, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The rules that are true of it, by their places in the pack.
    pub rules: &'s [usize],
    /// The values of the fields that [`crate::Plan::fields`] names, at least of those that [`crate::Plan::needed`] asks for.
    pub fields: &'s FieldValues,
    /// The values that meet, [folded](fold): only groups that have them are meant, see [`crate::Plan::meetings`]. `None`: all are.
    pub meets: Option<&'s [String]>,
}

/// The form of a value in which it is compared with others: without case.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// Values of an event's fields; used again for the next event.
#[derive(Debug, Default)]
pub struct FieldValues {
    /// The texts, and each folded behind it.
    text: String,
    values: Vec<Value>,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    field: u32,
    start: u32,
    /// Where the text ends, and what is folded begins.
    middle: u32,
    end: u32,
    number: Option<f64>,
}

impl FieldValues {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
    }

    /// Adds a value of the field at this place of [`crate::Plan::fields`]: its text, and the number that it is, if it is no text. A field's
    /// values beyond the 64th are left out.
    pub fn push(&mut self, field: usize, text: &str, number: Option<f64>) {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let field = place(field);
        let of_field = self.values.iter().rev().take_while(|value| value.field == field).count();
        if of_field >= MOST_VALUES || self.text.len() + 3 * text.len() > u32::MAX as usize {
            return;
        }
        let start = self.text.len();
        self.text.push_str(text);
        let middle = self.text.len();
        fold_into(text, &mut self.text);
        let number = number.filter(|number| number.is_finite()).or_else(|| decimal(text));
        let (start, middle, end) = (place(start), place(middle), place(self.text.len()));
        self.values.push(Value { field, start, middle, end, number });
    }

    /// The values of the field at this place of [`crate::Plan::fields`], each with the number that it is.
    pub fn values(&self, field: usize) -> impl Iterator<Item = (&str, Option<f64>)> + '_ {
        let of = move |value: &&Value| value.field as usize == field;
        let text = |value: &Value| &self.text[value.start as usize..value.middle as usize];
        self.values.iter().filter(of).map(move |value| (text(value), value.number))
    }

    /// The places of a field's values.
    pub(crate) fn of(&self, field: u32) -> impl Iterator<Item = u32> + Clone + '_ {
        self.values.iter().zip(0..).filter(move |(value, _)| value.field == field).map(|(_, at)| at)
    }

    /// A value of [`crate::Meeting::values`].
    pub fn text(&self, at: u32) -> &str {
        self.values.get(at as usize).map_or("", |value| &self.text[value.start as usize..value.middle as usize])
    }

    /// The same, without case.
    pub fn folded(&self, at: u32) -> &str {
        self.values.get(at as usize).map_or("", |value| &self.text[value.middle as usize..value.end as usize])
    }

    pub(crate) fn number(&self, at: u32) -> Option<f64> {
        self.values.get(at as usize).and_then(|value| value.number)
    }
}
