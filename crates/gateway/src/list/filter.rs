//! `filter`: a JSON object, compiled to a condition with bound parameters.
//!
//! `{"severity":{"gte":"high"},"or":[{"verdict":"malicious"},{"risk_score":{"gt":90}}]}`. Names and operators are looked
//! up and written from our own tables; only values come from outside, and these are bound.

use serde_json::{Map, Value};

use super::{Arg, BadQuery, Field, FieldKind, HIGHEST_SEVERITY, Resource, Sql, millis, severity_rank};

/// The longest filter, in bytes.
const LONGEST: usize = 4_096;
/// How deep conditions may lie in each other.
const MAX_DEPTH: usize = 6;
/// How many values a filter may compare with.
const MAX_VALUES: usize = 100;

/// A filter that can be compiled.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Compare { field: &'static Field, operator: Operator, values: Vec<Arg> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Contains,
}

const OPERATORS: [(&str, Operator, &str); 8] = [
    ("eq", Operator::Eq, "="),
    ("ne", Operator::Ne, "<>"),
    ("gt", Operator::Gt, ">"),
    ("gte", Operator::Gte, ">="),
    ("lt", Operator::Lt, "<"),
    ("lte", Operator::Lte, "<="),
    ("in", Operator::In, "IN"),
    ("contains", Operator::Contains, "LIKE"),
];

impl Operator {
    const fn fits(self, kind: FieldKind) -> bool {
        match kind {
            FieldKind::Text => matches!(self, Self::Eq | Self::Ne | Self::In | Self::Contains),
            FieldKind::Number | FieldKind::Time | FieldKind::Severity => !matches!(self, Self::Contains),
            FieldKind::Member(..) => matches!(self, Self::Eq | Self::In | Self::Contains),
        }
    }
}

impl Filter {
    /// Reads a filter for `resource`.
    pub(super) fn parse(resource: &'static Resource, text: &str) -> Result<Self, BadQuery> {
        if text.len() > LONGEST {
            return Err(BadQuery(format!("`filter` has {} bytes, more than {LONGEST}", text.len())));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| BadQuery(format!("`filter` is no JSON: {error}")))?;
        let Value::Object(object) = value else {
            return Err(BadQuery("`filter` is no JSON object; write {\"severity\":\"high\"}".to_owned()));
        };
        let mut reader = Reader { resource, values: 0 };
        reader.object(&object, MAX_DEPTH)
    }

    /// Appends the condition, in parentheses.
    pub(super) fn write(&self, sql: &mut Sql) {
        match self {
            Self::And(parts) => join(parts, " AND ", sql),
            Self::Or(parts) => join(parts, " OR ", sql),
            Self::Compare { field, operator, values } => compare(field, *operator, values, sql),
        }
    }
}

impl Filter {
    /// The conditions that hold whatever else does.
    fn always(&self) -> &[Self] {
        match self {
            Self::And(parts) => parts,
            Self::Or(_) | Self::Compare { .. } => std::slice::from_ref(self),
        }
    }

    /// Whether it is one comparison.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.always(), [Self::Compare { .. }])
    }

    /// Appends what always has to hold of the column that a list is sorted by.
    pub(super) fn write_bounds_of(&self, column: &str, sql: &mut Sql) {
        for part in self.always() {
            if let Self::Compare { field, .. } = part
                && field.name == column
            {
                sql.push(" AND ");
                part.write(sql);
            }
        }
    }

    /// The values of which a row has to have one in `field`, where it always has to.
    pub(super) fn values_of(&self, field: &'static Field) -> Option<Vec<Arg>> {
        self.always().iter().find_map(|part| match part {
            Self::Compare { field: of, operator, values } if of.name == field.name => match (operator, &values[..]) {
                (Operator::Eq | Operator::In, _) => Some(values.clone()),
                (Operator::Gte, [Arg::Number(least)]) if field.kind == FieldKind::Severity => {
                    Some((*least..HIGHEST_SEVERITY + 1).map(Arg::Number).collect())
                }
                _ => None,
            },
            _ => None,
        })
    }
}

fn join(parts: &[Filter], between: &str, sql: &mut Sql) {
    sql.push("(");
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            sql.push(between);
        }
        part.write(sql);
    }
    sql.push(")");
}

fn compare(field: &Field, operator: Operator, values: &[Arg], sql: &mut Sql) {
    let (exists, column) = match field.kind {
        FieldKind::Member(exists, column) => (exists, column),
        _ => ("", field.name),
    };
    sql.push("(");
    sql.push(exists);
    match (operator, values) {
        // SQLite's LIKE knows no case, PostgreSQL's does. Of letters beyond ASCII each database has its own idea; so it is asked
        // for both sides.
        (Operator::Contains, [Arg::Text(part), ..]) => {
            sql.push(&format!("LOWER({column}) LIKE LOWER("));
            let escaped = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            sql.bind(Arg::Text(format!("%{escaped}%")));
            sql.push(") ESCAPE '\\'");
        }
        (Operator::In, _) | (Operator::Eq, [_]) if !exists.is_empty() || operator == Operator::In => {
            sql.push(column);
            sql.push(" IN ");
            sql.bind_all(values);
        }
        (_, [value, ..]) => {
            let sign = OPERATORS.iter().find(|(_, known, _)| *known == operator).map_or("=", |(.., sign)| sign);
            sql.push(&format!("{} {sign} ", field.name));
            sql.bind(value.clone());
        }
        _ => sql.push("1 = 0"),
    }
    sql.push(if exists.is_empty() { ")" } else { "))" });
}

struct Reader {
    resource: &'static Resource,
    values: usize,
}

impl Reader {
    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Result<Filter, BadQuery> {
        if depth == 0 {
            return Err(BadQuery(format!("`filter` is deeper than {MAX_DEPTH} levels")));
        }
        if object.is_empty() {
            return Err(BadQuery("`filter` has an empty object; leave it out to see everything".to_owned()));
        }
        let mut parts = Vec::new();
        for (name, value) in object {
            match &**name {
                "and" => parts.push(Filter::And(self.parts(name, value, depth)?)),
                "or" => parts.push(Filter::Or(self.parts(name, value, depth)?)),
                _ => {
                    let field = self.field(name)?;
                    match value {
                        Value::Object(conditions) if !conditions.is_empty() => {
                            for (operator, value) in conditions {
                                parts.push(self.comparison(field, operator, value)?);
                            }
                        }
                        _ => parts.push(self.comparison(field, "eq", value)?),
                    }
                }
            }
        }
        Ok(Filter::And(parts))
    }

    fn parts(&mut self, name: &str, value: &Value, depth: usize) -> Result<Vec<Filter>, BadQuery> {
        let wrong = || BadQuery(format!("`{name}` in `filter` takes a list of objects"));
        let items = value.as_array().filter(|items| !items.is_empty()).ok_or_else(wrong)?;
        items.iter().map(|item| self.object(item.as_object().ok_or_else(wrong)?, depth - 1)).collect()
    }

    fn field(&self, name: &str) -> Result<&'static Field, BadQuery> {
        self.resource.fields.iter().find(|field| field.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.resource.fields.iter().map(|field| field.name).collect();
            let name: String = name.chars().take(64).collect();
            BadQuery(format!("there is no field `{name}` to filter by; there are {}", known.join(", ")))
        })
    }

    fn comparison(&mut self, field: &'static Field, operator: &str, value: &Value) -> Result<Filter, BadQuery> {
        let Some(&(_, operator, _)) = OPERATORS.iter().find(|(name, ..)| *name == operator) else {
            let operator: String = operator.chars().take(64).collect();
            let known: Vec<&str> = OPERATORS.iter().map(|(name, ..)| *name).collect();
            return Err(BadQuery(format!(
                "there is no operator `{operator}`; there are {}, and, or",
                known.join(", ")
            )));
        };
        if !operator.fits(field.kind) {
            return Err(BadQuery(format!("`{}` can't be compared by that operator", field.name)));
        }
        let values: Vec<&Value> = match (operator, value) {
            (Operator::In, Value::Array(items)) if !items.is_empty() => items.iter().collect(),
            (Operator::In, _) => return Err(BadQuery(format!("`in` of `{}` takes a list", field.name))),
            (_, value) => vec![value],
        };
        self.values += values.len();
        if self.values > MAX_VALUES {
            return Err(BadQuery(format!("`filter` compares with more than {MAX_VALUES} values")));
        }
        let values: Result<Vec<Arg>, BadQuery> = values.into_iter().map(|value| argument(field, value)).collect();
        Ok(Filter::Compare { field, operator, values: values? })
    }
}

/// The value as it is bound, if it is of the field's kind.
fn argument(field: &Field, value: &Value) -> Result<Arg, BadQuery> {
    let (found, expected) = match field.kind {
        // A text with a NUL is none that PostgreSQL could hold.
        FieldKind::Text | FieldKind::Member(..) => {
            (value.as_str().filter(|text| !text.contains('\0')).map(|text| Arg::Text(text.to_owned())), "a text")
        }
        FieldKind::Number => (value.as_i64().map(Arg::Number), "a whole number"),
        FieldKind::Time => (value.as_str().and_then(millis).map(Arg::Number), "an RFC 3339 time"),
        FieldKind::Severity => {
            (value.as_str().and_then(severity_rank).map(Arg::Number), "informational, low, medium, high or critical")
        }
    };
    found.ok_or_else(|| BadQuery(format!("`{}` is compared with {expected}", field.name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static RESOURCE: Resource = Resource {
        table: "assessments",
        id: "assessment_id",
        condition: "",
        fields: &[
            Field::new("verdict", FieldKind::Text),
            Field::sortable("risk_score", FieldKind::Number),
            Field::new("severity", FieldKind::Severity),
            Field::new("entity", FieldKind::Member("EXISTS (SELECT 1 FROM e WHERE e.id = t.id AND ", "e.value")),
        ],
    };

    fn compiled(filter: &str) -> Result<(String, usize), String> {
        let filter = Filter::parse(&RESOURCE, filter).map_err(|error| error.0)?;
        let mut sql = Sql::default();
        filter.write(&mut sql);
        Ok((sql.text, sql.args.len()))
    }

    #[test]
    fn a_filter_becomes_a_condition_with_places_for_its_values() {
        for (filter, expected, values) in [
            (r#"{"verdict":"malicious"}"#, "((verdict = $1))", 1),
            (r#"{"risk_score":{"gte":1,"lt":9}}"#, "((risk_score >= $1) AND (risk_score < $2))", 2),
            (r#"{"severity":{"in":["high","critical"]}}"#, "((severity IN ($1, $2)))", 2),
            (r#"{"verdict":{"contains":"50%"}}"#, r"((LOWER(verdict) LIKE LOWER($1) ESCAPE '\'))", 1),
            (
                r#"{"or":[{"verdict":"x"},{"and":[{"risk_score":1}]}]}"#,
                "((((verdict = $1)) OR ((((risk_score = $2))))))",
                2,
            ),
            (
                r#"{"entity":{"contains":"WS"}}"#,
                r"((EXISTS (SELECT 1 FROM e WHERE e.id = t.id AND LOWER(e.value) LIKE LOWER($1) ESCAPE '\')))",
                1,
            ),
            (r#"{"entity":"ws-1"}"#, "((EXISTS (SELECT 1 FROM e WHERE e.id = t.id AND e.value IN ($1))))", 1),
        ] {
            assert_eq!(compiled(filter), Ok((expected.to_owned(), values)), "{filter}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_filter_is_named() {
        let deep = r#"{"and":["#.repeat(7) + r#"{"verdict":"x"}"# + &"]}".repeat(7);
        let many = format!(r#"{{"risk_score":{{"in":[{}1]}}}}"#, "1,".repeat(100));
        for (filter, expected) in [
            ("[]", "no JSON object"),
            ("[[\"verdict\",\"x\"]]", "no JSON object"),
            ("{\"verdict\":", "no JSON: "),
            ("{}", "empty object"),
            (r#"{"verdikt":"x"}"#, "no field `verdikt`"),
            (r#"{"verdict":{"like":"x"}}"#, "no operator `like`"),
            (r#"{"verdict":{"gt":"x"}}"#, "can't be compared"),
            (r#"{"risk_score":"1; DROP TABLE assessments"}"#, "a whole number"),
            (r#"{"severity":"terrible"}"#, "informational, low"),
            (r#"{"or":{}}"#, "takes a list of objects"),
            (r#"{"or":[1]}"#, "takes a list of objects"),
            (r#"{"risk_score":{"in":[]}}"#, "takes a list"),
            (r#"{"verdict":"\u0000"}"#, "a text"),
            (&deep, "deeper than"),
            (&many, "more than 100"),
        ] {
            let error = compiled(filter).expect_err(filter);
            assert!(error.contains(expected), "{filter}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_value_gets_into_the_statement(value in "[ -~]{0,40}", name in "[ -~]{1,20}") {
            let filter = serde_json::json!({"or": [{"verdict": value}, {"verdict": {"contains": value}}]}).to_string();
            let (sql, values) = compiled(&filter).unwrap();
            prop_assert_eq!(sql, r"((((verdict = $1)) OR ((LOWER(verdict) LIKE LOWER($2) ESCAPE '\'))))");
            prop_assert_eq!(values, 2);
            let unknown = serde_json::json!({ &name: 1 }).to_string();
            prop_assert!(compiled(&unknown).is_err() || ["verdict", "risk_score", "severity", "entity"].contains(&&*name));
        }
    }
}
