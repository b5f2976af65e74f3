//! Placeholders (`%name%` in values of `expand`) filled with what the pipelines know.

use rsigma_parser::{Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};

use super::{
    Transformation,
    apply::Context,
    detection::{Change, DetectionItem, string},
    sigma_value,
};

/// How many values one item may have once its placeholders are filled.
const MAX_VALUES: usize = 50_000;

/// A piece of a value.
#[derive(Clone)]
enum Piece {
    Part(StringPart),
    Placeholder(String),
}

/// Fills the placeholders that the transformation is for. Those that no item fills are the event's own fields.
pub(super) fn fill(
    transformation: &Transformation,
    item: &mut DetectionItem,
    context: &Context<'_>,
) -> Result<Option<Change>, String> {
    let (include, exclude) = match transformation {
        Transformation::WildcardPlaceholders { include, exclude }
        | Transformation::ValuePlaceholders { include, exclude } => (include, exclude),
        _ => return Ok(None),
    };
    let is_regex = item.modifiers.contains(&Modifier::Re);
    if !item.modifiers.contains(&Modifier::Expand) || !(is_regex || item.has_plain_values()) {
        return Ok(None);
    }
    let is_handled = |name: &String| {
        include.as_ref().is_none_or(|names| names.contains(name))
            && exclude.as_ref().is_none_or(|names| !names.contains(name))
    };
    let replacements = |name: &str| match transformation {
        Transformation::ValuePlaceholders { .. } => values_of(name, is_regex, context),
        _ if is_regex => Ok(vec![vec![StringPart::Plain(".*".to_owned())]]),
        _ => Ok(vec![vec![StringPart::Special(SpecialChar::WildcardMulti)]]),
    };
    let (mut filled, mut open) = (Vec::new(), Vec::new());
    let mut any = false;
    for value in &item.values {
        let SigmaValue::String(text) = value else {
            filled.push(value.clone());
            continue;
        };
        let mut forms = vec![Vec::new()];
        for piece in pieces(text) {
            match piece {
                Piece::Placeholder(name) if is_handled(&name) => {
                    any = true;
                    let new = replacements(&name)?;
                    if forms.len().saturating_mul(new.len()) > MAX_VALUES {
                        return Err(format!("`{text}` stands for more than {MAX_VALUES} values"));
                    }
                    let joined = forms.iter().flat_map(|form: &Vec<Piece>| {
                        new.iter()
                            .map(|parts| form.iter().cloned().chain(parts.iter().cloned().map(Piece::Part)).collect())
                    });
                    forms = joined.collect();
                }
                piece => forms.iter_mut().for_each(|form| form.push(piece.clone())),
            }
        }
        for form in forms {
            let is_open = form.iter().any(|piece| matches!(piece, Piece::Placeholder(_)));
            let text = SigmaValue::String(joined(form));
            if is_open { open.push(text) } else { filled.push(text) }
        }
        if filled.len() + open.len() > MAX_VALUES {
            return Err(format!("the item stands for more than {MAX_VALUES} values"));
        }
    }
    if !any {
        return Ok(None);
    }
    let without_expand: Vec<_> =
        item.modifiers.iter().filter(|modifier| **modifier != Modifier::Expand).copied().collect();
    if !open.is_empty() && !filled.is_empty() {
        let modifiers = [without_expand, item.modifiers.clone()];
        return Ok(Some(Change::Replace(item.clone().split(filled, open, modifiers))));
    }
    if open.is_empty() {
        item.modifiers = without_expand;
        item.set_values(filled)?;
    } else {
        item.set_values(open)?;
    }
    Ok(Some(Change::Keep))
}

/// The values of a variable.
fn values_of(name: &str, is_regex: bool, context: &Context<'_>) -> Result<Vec<Vec<StringPart>>, String> {
    let values = context
        .vars
        .get(name)
        .ok_or_else(|| format!("the placeholder `%{name}%` is to be filled from `vars`, which have no `{name}`"))?;
    let parts = |value| {
        let text = sigma_value(value).to_string();
        if is_regex { vec![StringPart::Plain(text)] } else { SigmaString::new(&text).parts }
    };
    Ok(values.iter().map(parts).collect())
}

/// Finds the placeholders of a value; `\%` is a percent sign.
fn pieces(text: &SigmaString) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for part in &text.parts {
        let StringPart::Plain(text) = part else {
            pieces.push(Piece::Part(part.clone()));
            continue;
        };
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('%') {
            if let Some(before) = before.strip_suffix('\\') {
                plain.extend([before, "%"]);
                rest = after;
                continue;
            }
            plain.push_str(before);
            match after.split_once('%').filter(|(name, _)| !name.is_empty()) {
                Some((name, after)) => {
                    pieces.push(Piece::Part(StringPart::Plain(std::mem::take(&mut plain))));
                    pieces.push(Piece::Placeholder(name.to_owned()));
                    rest = after;
                }
                None => {
                    plain.push('%');
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Part(StringPart::Plain(plain)));
    }
    pieces
}

/// A value of these pieces, neighbouring texts joined.
fn joined(pieces: Vec<Piece>) -> SigmaString {
    let mut parts: Vec<StringPart> = Vec::new();
    for piece in pieces {
        let part = match piece {
            Piece::Part(part) => part,
            Piece::Placeholder(name) => StringPart::Plain(format!("%{name}%")),
        };
        match (parts.last_mut(), part) {
            (_, StringPart::Plain(text)) if text.is_empty() => {}
            (Some(StringPart::Plain(before)), StringPart::Plain(text)) => before.push_str(&text),
            (_, part) => parts.push(part),
        }
    }
    string(parts)
}
