//! A selection's line (`Field|modifier|…: values`) made into predicates.

use rsigma_parser::{DetectionItem, FieldSpec, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};

use crate::{
    condition::Expr,
    dialect::translated,
    encode::{DASHES, base64, base64_offsets, dash_variants, has_wildcards, plain_parts, utf16},
    fold::fold,
    glob::{Glob, Piece},
    predicate::{Number, NumberOp, Pattern, Predicate, Scope, TemplatePiece, Test, TextOp, TimePart},
    read::modifier_name,
    scalar::number_in,
};

/// How many texts one `windash` value may stand for before it becomes a regular expression.
const MAX_DASH_VARIANTS: usize = 125;

/// A step from a rule's detection section to what is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Selection(String),
    /// A line of a map, or a map or keyword of a list.
    Part(usize),
    /// A value of a line.
    Value(usize),
}

/// Why a rule can't be used, and what in it is to blame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LowerError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The outermost first.
    pub(crate) steps: Vec<Step>,
}

impl LowerError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), steps: Vec::new() }
    }

    /// Says that it is behind this step.
    pub(crate) fn within(mut self, step: Step) -> Self {
        self.steps.insert(0, step);
        self
    }
}

/// The modifiers of one line, sorted by what they do.
struct Modifiers {
    operator: Option<Modifier>,
    /// Where in a value an expression is to be found.
    ends: Option<Modifier>,
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
            ends: None,
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
                // Behind `re` they say where the expression is found.
                end @ (Modifier::Contains | Modifier::StartsWith | Modifier::EndsWith)
                    if sorted.operator == Some(Modifier::Re) && sorted.ends.is_none() =>
                {
                    sorted.ends = Some(*end);
                }
                operator => {
                    if let Some(other) = sorted.operator.replace(*operator) {
                        return Err(excluded(other, *operator));
                    }
                }
            }
        }
        sorted.check(field)
    }

    fn check(self, field: &FieldSpec) -> Result<Self, LowerError> {
        let error = |message: String| Err(LowerError::new("modifier-combination", message));
        let names = |modifiers: &[Modifier]| {
            modifiers.iter().map(|modifier| format!("`{}`", modifier_name(*modifier))).collect::<Vec<_>>().join(" and ")
        };
        let text_operator =
            matches!(self.operator, None | Some(Modifier::Contains | Modifier::StartsWith | Modifier::EndsWith));
        if !self.flags.is_empty() && self.operator != Some(Modifier::Re) {
            return error("the modifiers i, m and s go with `re` only; write `|re|i`".to_owned());
        }
        if let Some(operator) = self.operator.filter(|_| !text_operator) {
            // A pipeline fills placeholders in expressions, too.
            let is_filled = |modifier: &Modifier| operator == Modifier::Re && *modifier == Modifier::Expand;
            let mut others: Vec<_> = self.encodings.iter().copied().filter(|modifier| !is_filled(modifier)).collect();
            others.extend(self.field_ref.then_some(Modifier::FieldRef));
            if !others.is_empty() {
                let message =
                    format!("`{}` does not go with {}; take one away", modifier_name(operator), names(&others));
                return error(message);
            }
        }
        if self.field_ref && !self.encodings.is_empty() {
            return error(format!("`fieldref` does not go with {}; take one away", names(&self.encodings)));
        }
        if self.operator == Some(Modifier::Exists) {
            if field.name.is_none() {
                return error(
                    "`exists` asks whether a field is there, and none is named; write `Field|exists: true`".to_owned(),
                );
            }
            if field.modifiers.len() > 1 {
                return error(
                    "`exists` goes with no other modifier; write `|exists: true` or `|exists: false`".to_owned(),
                );
            }
        }
        // What comes first is done first (Sigma 2.1 §Value Modifiers), and of these only one order makes sense.
        let stage = |modifier: &Modifier| match modifier {
            Modifier::WindAsh | Modifier::Expand => 0,
            Modifier::Wide | Modifier::Utf16 | Modifier::Utf16be => 1,
            _ => 2,
        };
        for pair in self.encodings.windows(2) {
            let (one, other) = (stage(&pair[0]), stage(&pair[1]));
            if one == other && one > 0 {
                return error(format!(
                    "{} exclude each other; a value has one UTF-16 form and one Base64 form",
                    names(pair)
                ));
            }
            if one > other {
                let (first, then) = (modifier_name(pair[1]), modifier_name(pair[0]));
                return error(format!(
                    "modifiers are applied in their order, and these make no sense so; write `{first}|{then}`"
                ));
            }
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

fn excluded(one: Modifier, other: Modifier) -> LowerError {
    let (one, other) = (modifier_name(one), modifier_name(other));
    let instead = match (one, other) {
        ("contains" | "startswith" | "endswith", "re") => format!("; write `re|{one}`"),
        ("startswith", "endswith") | ("endswith", "startswith") => {
            "; write one value with `*` between its ends".to_owned()
        }
        _ => "; take one away".to_owned(),
    };
    LowerError::new("modifier-combination", format!("the modifiers `{one}` and `{other}` exclude each other{instead}"))
}

/// Whether a line's modifiers go together.
pub(crate) fn check_modifiers(field: &FieldSpec) -> Result<(), LowerError> {
    Modifiers::of(field).map(drop)
}

/// Lowers one line.
pub(crate) fn lower_item(item: &DetectionItem) -> Result<Expr, LowerError> {
    let modifiers = Modifiers::of(&item.field)?;
    let scope = match &item.field.name {
        Some(name) => Scope::Field(name.as_str().into()),
        None => Scope::Anywhere,
    };
    let is = |test: Test| Expr::Is(Predicate { scope: scope.clone(), test });
    if modifiers.operator == Some(Modifier::Exists) {
        return match item.values[..] {
            // Whether it is there is asked, and not for its value.
            [SigmaValue::Bool(true)] => Ok(is(Test::Present)),
            [SigmaValue::Bool(false)] => Ok(Expr::Not(Box::new(is(Test::Present)))),
            _ => Err(LowerError::new("modifier-value", "`exists` takes `true` or `false`")),
        };
    }
    if item.values.is_empty() {
        return Err(LowerError::new("no-value", "there is no value"));
    }
    let is_keyword = scope == Scope::Anywhere && item.field.modifiers.iter().all(|modifier| *modifier == Modifier::All);
    let mut parts = Vec::with_capacity(item.values.len());
    for (at, value) in item.values.iter().enumerate() {
        let tests =
            if is_keyword { lower_keyword(value).map(|test| vec![test]) } else { lower_value(value, &modifiers) };
        let tests = tests.map_err(|error| error.within(Step::Value(at)))?;
        parts.push(Expr::any(tests.into_iter().map(is).collect()));
    }
    let joined = if modifiers.all { Expr::all(parts) } else { Expr::any(parts) };
    // As in pySigma `neq` is `not` before the line: it is true where the field is missing, too.
    Ok(if modifiers.negated { Expr::Not(Box::new(joined)) } else { joined })
}

/// Lowers a keyword: what any text in the event may contain.
pub(crate) fn lower_keyword(value: &SigmaValue) -> Result<Test, LowerError> {
    match value {
        SigmaValue::String(text) => Ok(text_test(&text.parts, TextOp::Contains, false)),
        // In the raw log, which keywords are about, a number is written as the rule writes it.
        SigmaValue::Integer(_) | SigmaValue::Float(_) | SigmaValue::Bool(_) => {
            Ok(text_test(&plain_parts(value.to_string()), TextOp::Contains, false))
        }
        SigmaValue::Null => Err(LowerError::new("keyword", "null is no keyword")),
    }
}

/// The alternatives that one value stands for.
fn lower_value(value: &SigmaValue, modifiers: &Modifiers) -> Result<Vec<Test>, LowerError> {
    let cased = modifiers.cased;
    if modifiers.field_ref {
        let field = without_wildcards(value, Modifier::FieldRef)?.into();
        return Ok(vec![Test::FieldRef { field, op: modifiers.text_op(), cased }]);
    }
    if modifiers.has(Modifier::Expand) {
        let pieces = template(&escaped(value, modifiers.operator == Some(Modifier::Re))?);
        let unfilled = pieces.iter().find_map(|piece| match piece {
            TemplatePiece::Field(name) if modifiers.operator == Some(Modifier::Re) => Some(&**name),
            TemplatePiece::Field(name) => {
                STANDARD_PLACEHOLDERS.into_iter().find(|known| known.eq_ignore_ascii_case(name))
            }
            TemplatePiece::Text(_) => None,
        });
        if let Some(name) = unfilled {
            let message = format!(
                "`%{name}%` stands for what is known of your network, and no pipeline says what that is; \
                 give one with `value_placeholders` (docs/rules.md)"
            );
            return Err(LowerError::new("placeholder", message));
        }
        if modifiers.operator == Some(Modifier::Re) {
            return Ok(vec![Test::Regex(expression(&plain(value)?, modifiers)?)]);
        }
        return Ok(vec![Test::Template { pieces, op: modifiers.text_op(), cased }]);
    }
    let test = match modifiers.operator {
        Some(Modifier::Re) => Test::Regex(expression(&plain(value)?, modifiers)?),
        Some(Modifier::Cidr) => {
            Test::Cidr(plain(value)?.parse().map_err(|message: String| LowerError::new("cidr", message))?)
        }
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
            SigmaValue::Null | SigmaValue::Bool(_) | SigmaValue::Integer(_) | SigmaValue::Float(_)
                if !modifiers.encodings.is_empty() =>
            {
                let name = modifier_name(modifiers.encodings[0]);
                return Err(LowerError::new("modifier-value", format!("`{name}` takes a text; write '{value}'")));
            }
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
    let is_text = modifiers.encodings.iter().all(|modifier| *modifier == Modifier::WindAsh);
    let mut variants = vec![text.parts.clone()];
    if modifiers.has(Modifier::WindAsh) {
        match dash_variants(&text.parts, MAX_DASH_VARIANTS) {
            Some(all) => variants = all,
            None if is_text => return Ok(vec![Test::Regex(dash_pattern(&text.parts, op, modifiers.cased)?)]),
            None => {
                let message =
                    format!("`{}`: with these modifiers a value has at most 3 dashes or slashes", text.original);
                return Err(LowerError::new("value", message));
            }
        }
    }
    if is_text {
        let mut tests: Vec<_> = variants.iter().map(|parts| text_test(parts, op, modifiers.cased)).collect();
        // A number this large is written otherwise in the event's text.
        let beyond = modifiers.operator.is_none() && text.original.parse::<i64>().is_err();
        if let Some(number @ Number::Whole(_)) = number_in(&text.original).filter(|_| beyond) {
            tests.push(Test::Number { op: NumberOp::Equal, than: number });
        }
        return Ok(tests);
    }
    let mut tests = Vec::new();
    for parts in &variants {
        if has_wildcards(parts) {
            let message = format!("`{}`: a value to encode takes no wildcards; write `\\*` for a star", text.original);
            return Err(LowerError::new("value", message));
        }
        let plain = plain_text(parts);
        for encoded in encode(&plain, modifiers)? {
            // A form of three offsets is one of a longer value by its nature.
            let op = if modifiers.has(Modifier::Base64Offset) { TextOp::Contains } else { op };
            tests.push(text_test(&plain_parts(encoded), op, modifiers.cased));
        }
    }
    if tests.is_empty() {
        let message = format!("`{}` is too short to be found in Base64; write at least two characters", text.original);
        return Err(LowerError::new("value", message));
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
    let text = String::from_utf8(bytes).map_err(|_| {
        LowerError::new(
            "value",
            format!("`{plain}` in UTF-16 is no text; write `|base64` or `|base64offset` behind it"),
        )
    })?;
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
                for piece in plain.split_inclusive(DASHES) {
                    let (before, is_dash) = piece.strip_suffix(DASHES).map_or((piece, false), |before| (before, true));
                    text.push_str(&regex::escape(before));
                    text.push_str(if is_dash { r"[-/\x{2013}\x{2014}\x{2015}]" } else { "" });
                }
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
    Pattern::new(&flagged).map_err(|error| LowerError::new("regex", format!("`{text}`: {}", regex_error(&error))))
}

/// Why an expression is not taken, in one line.
fn regex_error(error: &regex::Error) -> String {
    let text = error.to_string();
    match error {
        regex::Error::CompiledTooBig(_) => {
            "this regular expression takes too much memory; write a smaller repetition".to_owned()
        }
        _ => {
            let reason = text.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
            format!("this is no regular expression that is taken: {}", reason.unwrap_or(&text))
        }
    }
}

/// The expression of a rule, with what its modifiers say of it.
fn expression(written: &str, modifiers: &Modifiers) -> Result<Pattern, LowerError> {
    let text = translated(written).map_err(|reason| LowerError::new("regex", format!("`{written}`: {reason}")))?;
    let text = match modifiers.ends {
        Some(Modifier::StartsWith) => format!(r"\A(?:{text})"),
        Some(Modifier::EndsWith) => format!(r"(?:{text})\z"),
        _ => text.into_owned(),
    };
    pattern(&text, &modifiers.flags)
}

fn number_test(op: NumberOp, value: &SigmaValue) -> Result<Test, LowerError> {
    let than = match value {
        SigmaValue::Integer(number) => Number::Whole(i128::from(*number)),
        SigmaValue::Float(number) => Number::new(*number),
        other => {
            let text = plain(other)?;
            number_in(&text).ok_or_else(|| {
                LowerError::new("modifier-value", format!("`{text}` is no number; write one without quotes"))
            })?
        }
    };
    Ok(Test::Number { op, than })
}

fn time_test(part: TimePart, value: &SigmaValue) -> Result<Test, LowerError> {
    let text = plain(value)?;
    let equals = text
        .parse()
        .map_err(|_| LowerError::new("modifier-value", format!("`{text}` is no whole number; write one")))?;
    Ok(Test::Time { part, equals })
}

fn plain(value: &SigmaValue) -> Result<String, LowerError> {
    match value {
        SigmaValue::String(text) => Ok(text.as_plain().unwrap_or_else(|| text.original.clone())),
        SigmaValue::Null => Err(LowerError::new("modifier-value", "null where a text is expected; write a text")),
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

/// A value whose modifier takes none of Sigma's wildcards.
fn without_wildcards(value: &SigmaValue, modifier: Modifier) -> Result<String, LowerError> {
    match value {
        SigmaValue::String(text) if !text.is_plain() => {
            let name = modifier_name(modifier);
            let message = format!(
                "`{text}`: `{name}` takes no wildcards; write `|{name}|contains`, `|startswith` or `|endswith`"
            );
            Err(LowerError::new("value", message))
        }
        value => plain(value),
    }
}

/// The placeholders that every tool should know (Sigma 2.1 §Standard Placeholders): none of them is an event's field.
const STANDARD_PLACEHOLDERS: [&str; 5] =
    ["Administrators", "JumpServers", "Workstations", "Servers", "DomainControllers"];

/// The placeholders that a line still has, each with the value's place in it: they stand for the event's own fields.
pub(crate) fn unfilled(item: &DetectionItem) -> Vec<(usize, String)> {
    if !item.field.has_modifier(Modifier::Expand) || item.field.has_modifier(Modifier::Re) {
        return Vec::new();
    }
    let names = |(at, value): (usize, &SigmaValue)| {
        let pieces = escaped(value, false).map(|text| template(&text)).unwrap_or_default();
        let names = pieces.into_iter().filter_map(|piece| match piece {
            TemplatePiece::Field(name) => Some((at, name.into_string())),
            TemplatePiece::Text(_) => None,
        });
        names.collect::<Vec<_>>()
    };
    item.values.iter().enumerate().flat_map(names).collect()
}

/// A value with placeholders as it is written, with the escapes that [`template`] takes away.
fn escaped(value: &SigmaValue, is_raw: bool) -> Result<String, LowerError> {
    let text = without_wildcards(value, Modifier::Expand)?;
    match value {
        SigmaValue::String(SigmaString { parts, original })
            if !is_raw && SigmaString::new(original).parts == *parts =>
        {
            Ok(original.clone())
        }
        // A pipeline has changed it.
        _ => Ok(text.replace('\\', r"\\")),
    }
}

/// Splits `a%name%b`; a `%` without a second one is itself, and so is one behind a backslash (Sigma 2.1 §Placeholders).
fn template(text: &str) -> Box<[TemplatePiece]> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let behind = &rest[letter.len_utf8()..];
        if letter == '\\' && behind.starts_with(['\\', '%', '*', '?']) {
            plain.push_str(&behind[..1]);
            rest = &behind[1..];
        } else if letter == '%'
            && let Some((name, behind)) = behind.split_once('%')
        {
            pieces.extend((!plain.is_empty()).then(|| TemplatePiece::Text(std::mem::take(&mut plain).into())));
            pieces.push(TemplatePiece::Field(name.into()));
            rest = behind;
        } else {
            plain.push(letter);
            rest = behind;
        }
    }
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(TemplatePiece::Text(plain.into()));
    }
    pieces.into()
}
