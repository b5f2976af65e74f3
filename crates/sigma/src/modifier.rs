//! A selection's line (`Field|modifier|…: values`) made into predicates.

use rsigma_parser::{DetectionItem, FieldSpec, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};

use crate::{
    condition::Expr,
    encode::{base64, base64_offsets, dash_variants, has_wildcards, plain_parts, utf16},
    fold::fold,
    glob::{Glob, Piece},
    predicate::{Number, NumberOp, Pattern, Predicate, Scope, TemplatePiece, Test, TextOp, TimePart},
};

/// How many texts one `windash` value may stand for before it becomes a regular expression.
const MAX_DASH_VARIANTS: usize = 125;

/// Why a rule can't be used, and what in its text is to blame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LowerError {
    pub(crate) message: String,
    /// A piece of the rule's text, to find the line by.
    pub(crate) at: Option<String>,
}

impl LowerError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None }
    }

    /// Says which piece of text is to blame, unless that is known more exactly already.
    pub(crate) fn at(mut self, text: &str) -> Self {
        self.at.get_or_insert_with(|| text.to_owned());
        self
    }

    /// Says in which selection it is.
    pub(crate) fn within(self, selection: &str) -> Self {
        Self { message: format!("selection `{selection}`: {}", self.message), ..self }.at(selection)
    }
}

/// The modifiers of one line, sorted by what they do.
struct Modifiers {
    operator: Option<Modifier>,
    field_ref: bool,
    all: bool,
    negated: bool,
    cased: bool,
    encodings: Vec<Modifier>,
    flags: String,
}

impl Modifiers {
    fn of(field: &FieldSpec) -> Result<Self, LowerError> {
        let mut sorted = Self {
            operator: None,
            field_ref: false,
            all: false,
            negated: false,
            cased: false,
            encodings: Vec::new(),
            flags: String::new(),
        };
        for modifier in &field.modifiers {
            match modifier {
                Modifier::All => sorted.all = true,
                Modifier::Neq => sorted.negated = true,
                Modifier::Cased => sorted.cased = true,
                Modifier::FieldRef if sorted.operator.is_none() => sorted.field_ref = true,
                Modifier::IgnoreCase => sorted.flags.push('i'),
                Modifier::Multiline => sorted.flags.push('m'),
                Modifier::DotAll => sorted.flags.push('s'),
                Modifier::Base64
                | Modifier::Base64Offset
                | Modifier::Wide
                | Modifier::Utf16
                | Modifier::Utf16be
                | Modifier::WindAsh
                | Modifier::Expand => sorted.encodings.push(*modifier),
                operator => {
                    if let Some(other) = sorted.operator.replace(*operator) {
                        let name = |modifier: Modifier| format!("{modifier:?}").to_lowercase();
                        let (one, other) = (name(other), name(*operator));
                        return Err(LowerError::new(format!("the modifiers `{one}` and `{other}` exclude each other")));
                    }
                }
            }
        }
        sorted.check()
    }

    fn check(self) -> Result<Self, LowerError> {
        let text_operator =
            matches!(self.operator, None | Some(Modifier::Contains | Modifier::StartsWith | Modifier::EndsWith));
        if !self.flags.is_empty() && self.operator != Some(Modifier::Re) {
            return Err(LowerError::new("the modifiers i, m and s go with re only"));
        }
        if !text_operator && (self.field_ref || !self.encodings.is_empty()) {
            return Err(LowerError::new(format!("{:?} takes no encoding and no fieldref", self.operator)));
        }
        if self.field_ref && !self.encodings.is_empty() {
            return Err(LowerError::new("fieldref takes no encoding"));
        }
        let is_utf16 = |modifier: &&Modifier| matches!(modifier, Modifier::Wide | Modifier::Utf16 | Modifier::Utf16be);
        let is_base64 = |modifier: &&Modifier| matches!(modifier, Modifier::Base64 | Modifier::Base64Offset);
        if self.encodings.iter().filter(is_utf16).count() > 1 || self.encodings.iter().filter(is_base64).count() > 1 {
            return Err(LowerError::new("a value can have one UTF-16 form and one Base64 form only"));
        }
        Ok(self)
    }

    fn text_op(&self) -> TextOp {
        match self.operator {
            Some(Modifier::Contains) => TextOp::Contains,
            Some(Modifier::StartsWith) => TextOp::Prefix,
            Some(Modifier::EndsWith) => TextOp::Suffix,
            _ => TextOp::Exact,
        }
    }

    fn has(&self, modifier: Modifier) -> bool {
        self.encodings.contains(&modifier)
    }
}

/// Lowers one line.
pub(crate) fn lower_item(item: &DetectionItem) -> Result<Expr, LowerError> {
    let name = item.field.name.as_deref().unwrap_or_default();
    lower_values(item).map_err(|error| error.at(name))
}

fn lower_values(item: &DetectionItem) -> Result<Expr, LowerError> {
    let modifiers = Modifiers::of(&item.field)?;
    let scope = match &item.field.name {
        Some(name) => Scope::Field(name.as_str().into()),
        None => Scope::Anywhere,
    };
    let is = |test: Test| Expr::Is(Predicate { scope: scope.clone(), test });
    if modifiers.operator == Some(Modifier::Exists) {
        let expected = match item.values.first() {
            Some(SigmaValue::Bool(expected)) => *expected,
            Some(SigmaValue::String(text)) => !matches!(text.original.as_str(), "false" | "no"),
            _ => true,
        };
        return Ok(if expected { is(Test::NotNull) } else { Expr::Not(Box::new(is(Test::NotNull))) });
    }
    if item.values.is_empty() {
        return Err(LowerError::new("there is no value"));
    }
    if modifiers.all && item.values.len() == 1 {
        return Err(LowerError::new("the modifier all takes several values (Sigma 2.1, appendix modifiers)"));
    }
    let mut parts = Vec::with_capacity(item.values.len());
    for value in &item.values {
        let tests = match &scope {
            Scope::Anywhere if item.field.modifiers.iter().all(|modifier| *modifier == Modifier::All) => {
                vec![lower_keyword(value)?]
            }
            _ => lower_value(value, &modifiers)?,
        };
        parts.push(Expr::any(tests.into_iter().map(is).collect()));
    }
    let joined = if modifiers.all { Expr::all(parts) } else { Expr::any(parts) };
    // A field that is not there is not unequal to anything: as every comparison, `neq` needs a value.
    Ok(if modifiers.negated { Expr::All(vec![is(Test::Present), Expr::Not(Box::new(joined))]) } else { joined })
}

/// Lowers a keyword: what any text in the event may contain.
pub(crate) fn lower_keyword(value: &SigmaValue) -> Result<Test, LowerError> {
    match value {
        SigmaValue::String(text) => Ok(text_test(&text.parts, TextOp::Contains, false)),
        // In the raw log, which keywords are about, a number is written as the rule writes it.
        SigmaValue::Integer(_) | SigmaValue::Float(_) | SigmaValue::Bool(_) => {
            Ok(text_test(&plain_parts(value.to_string()), TextOp::Contains, false))
        }
        SigmaValue::Null => Err(LowerError::new("null is no keyword")),
    }
}

/// The alternatives that one value stands for.
fn lower_value(value: &SigmaValue, modifiers: &Modifiers) -> Result<Vec<Test>, LowerError> {
    let cased = modifiers.cased;
    if modifiers.field_ref {
        let field = plain(value)?.into();
        return Ok(vec![Test::FieldRef { field, op: modifiers.text_op(), cased }]);
    }
    if modifiers.has(Modifier::Expand) {
        let pieces = template(&plain(value)?);
        return Ok(vec![Test::Template { pieces, op: modifiers.text_op(), cased }]);
    }
    let test = match modifiers.operator {
        Some(Modifier::Re) => Test::Regex(pattern(&plain(value)?, &modifiers.flags)?),
        Some(Modifier::Cidr) => Test::Cidr(plain(value)?.parse().map_err(LowerError::new)?),
        Some(Modifier::Lt) => number_test(NumberOp::Less, value)?,
        Some(Modifier::Lte) => number_test(NumberOp::LessOrEqual, value)?,
        Some(Modifier::Gt) => number_test(NumberOp::Greater, value)?,
        Some(Modifier::Gte) => number_test(NumberOp::GreaterOrEqual, value)?,
        Some(Modifier::Minute) => time_test(TimePart::Minute, value)?,
        Some(Modifier::Hour) => time_test(TimePart::Hour, value)?,
        Some(Modifier::Day) => time_test(TimePart::Day, value)?,
        Some(Modifier::Week) => time_test(TimePart::Week, value)?,
        Some(Modifier::Month) => time_test(TimePart::Month, value)?,
        Some(Modifier::Year) => time_test(TimePart::Year, value)?,
        _ => match value {
            SigmaValue::Null => Test::Null,
            SigmaValue::Bool(truth) => Test::Bool(*truth),
            SigmaValue::Integer(_) | SigmaValue::Float(_) if modifiers.operator.is_none() => {
                number_test(NumberOp::Equal, value)?
            }
            SigmaValue::Integer(_) | SigmaValue::Float(_) => {
                text_test(&plain_parts(value.to_string()), modifiers.text_op(), cased)
            }
            SigmaValue::String(text) => return lower_text(text, modifiers),
        },
    };
    Ok(vec![test])
}

fn lower_text(text: &SigmaString, modifiers: &Modifiers) -> Result<Vec<Test>, LowerError> {
    let op = modifiers.text_op();
    let mut variants = vec![text.parts.clone()];
    if modifiers.has(Modifier::WindAsh) {
        match dash_variants(&text.parts, MAX_DASH_VARIANTS) {
            Some(all) => variants = all,
            None => return Ok(vec![Test::Regex(dash_pattern(&text.parts, op, modifiers.cased)?)]),
        }
    }
    if modifiers.encodings.iter().all(|modifier| *modifier == Modifier::WindAsh) {
        return Ok(variants.iter().map(|parts| text_test(parts, op, modifiers.cased)).collect());
    }
    let mut tests = Vec::new();
    for parts in &variants {
        if has_wildcards(parts) {
            return Err(LowerError::new(format!("`{}`: a value to encode takes no wildcards", text.original)));
        }
        let plain = plain_text(parts);
        for encoded in encode(&plain, modifiers)? {
            // A form of three offsets is one of a longer value by its nature.
            let op = if modifiers.has(Modifier::Base64Offset) { TextOp::Contains } else { op };
            tests.push(text_test(&plain_parts(encoded), op, modifiers.cased));
        }
    }
    if tests.is_empty() {
        return Err(LowerError::new(format!("`{}` is too short to be found in Base64", text.original)));
    }
    Ok(tests)
}

fn encode(plain: &str, modifiers: &Modifiers) -> Result<Vec<String>, LowerError> {
    let bytes = if modifiers.has(Modifier::Wide) {
        utf16(plain, false)
    } else if modifiers.has(Modifier::Utf16be) {
        utf16(plain, true)
    } else if modifiers.has(Modifier::Utf16) {
        [&[0xff, 0xfe][..], &utf16(plain, false)].concat()
    } else {
        plain.as_bytes().to_vec()
    };
    if modifiers.has(Modifier::Base64) {
        return Ok(vec![base64(&bytes)]);
    }
    if modifiers.has(Modifier::Base64Offset) {
        return Ok(base64_offsets(&bytes));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| LowerError::new(format!("`{plain}` in UTF-16 is no text; base64 or base64offset must follow")))?;
    Ok(vec![text])
}

/// The cheapest test that says the same.
fn text_test(parts: &[StringPart], op: TextOp, cased: bool) -> Test {
    let any = matches!(op, TextOp::Contains | TextOp::Suffix).then_some(Piece::AnyText);
    let mut pieces: Vec<Piece> = any.into_iter().collect();
    for part in parts {
        match part {
            StringPart::Special(SpecialChar::WildcardSingle) => pieces.push(Piece::AnyChar),
            StringPart::Special(SpecialChar::WildcardMulti) => {
                if pieces.last() != Some(&Piece::AnyText) {
                    pieces.push(Piece::AnyText);
                }
            }
            StringPart::Plain(text) => match pieces.last_mut() {
                Some(Piece::Text(before)) => *before = format!("{before}{text}").into(),
                _ => pieces.push(Piece::Text(text.as_str().into())),
            },
        }
    }
    if matches!(op, TextOp::Contains | TextOp::Prefix) && pieces.last() != Some(&Piece::AnyText) {
        pieces.push(Piece::AnyText);
    }
    let (op, text) = match pieces.as_slice() {
        [] => (TextOp::Exact, ""),
        [Piece::AnyText] => (TextOp::Contains, ""),
        [Piece::Text(text)] => (TextOp::Exact, &**text),
        [Piece::AnyText, Piece::Text(text)] => (TextOp::Suffix, &**text),
        [Piece::Text(text), Piece::AnyText] => (TextOp::Prefix, &**text),
        [Piece::AnyText, Piece::Text(text), Piece::AnyText] => (TextOp::Contains, &**text),
        _ => return Test::Glob(Glob::new(pieces, cased)),
    };
    Test::Text { op, text: if cased { text.into() } else { fold(text).into() }, cased }
}

fn dash_pattern(parts: &[StringPart], op: TextOp, cased: bool) -> Result<Pattern, LowerError> {
    let mut text = String::new();
    if matches!(op, TextOp::Exact | TextOp::Prefix) {
        text.push('^');
    }
    for part in parts {
        match part {
            StringPart::Special(SpecialChar::WildcardMulti) => text.push_str(".*"),
            StringPart::Special(SpecialChar::WildcardSingle) => text.push('.'),
            StringPart::Plain(plain) => {
                let pieces: Vec<_> = plain.split('-').map(regex::escape).collect();
                text.push_str(&pieces.join(r"[-/\x{2013}\x{2014}\x{2015}]"));
            }
        }
    }
    if matches!(op, TextOp::Exact | TextOp::Suffix) {
        text.push('$');
    }
    pattern(&text, if cased { "s" } else { "is" })
}

fn pattern(text: &str, flags: &str) -> Result<Pattern, LowerError> {
    let flagged = if flags.is_empty() { text.to_owned() } else { format!("(?{flags}){text}") };
    Pattern::new(&flagged)
        .map_err(|error| LowerError::new(format!("`{text}` is no regular expression that is taken: {error}")).at(text))
}

fn number_test(op: NumberOp, value: &SigmaValue) -> Result<Test, LowerError> {
    let number = match value {
        // As in events, numbers are compared as `f64`.
        #[expect(clippy::cast_precision_loss)]
        SigmaValue::Integer(number) => *number as f64,
        SigmaValue::Float(number) => *number,
        other => {
            let text = plain(other)?;
            text.parse().map_err(|_| LowerError::new(format!("`{text}` is no number")))?
        }
    };
    Ok(Test::Number { op, than: Number::new(number) })
}

fn time_test(part: TimePart, value: &SigmaValue) -> Result<Test, LowerError> {
    let text = plain(value)?;
    let equals = text.parse().map_err(|_| LowerError::new(format!("`{text}` is no whole number")))?;
    Ok(Test::Time { part, equals })
}

fn plain(value: &SigmaValue) -> Result<String, LowerError> {
    match value {
        SigmaValue::String(text) => Ok(text.as_plain().unwrap_or_else(|| text.original.clone())),
        SigmaValue::Null => Err(LowerError::new("null where a text is expected")),
        other => Ok(other.to_string()),
    }
}

fn plain_text(parts: &[StringPart]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        StringPart::Plain(text) => Some(text.as_str()),
        StringPart::Special(_) => None,
    });
    texts.collect()
}

/// Splits `a%name%b`; a `%` without a second one is itself.
fn template(text: &str) -> Box<[TemplatePiece]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, name, after)) =
        rest.split_once('%').and_then(|(before, rest)| rest.split_once('%').map(|(name, after)| (before, name, after)))
    {
        if !before.is_empty() {
            pieces.push(TemplatePiece::Text(before.into()));
        }
        pieces.push(TemplatePiece::Field(name.into()));
        rest = after;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(TemplatePiece::Text(rest.into()));
    }
    pieces.into()
}
