//! How an item's conditions are joined: `a and not (b or c)`.

/// How deep parentheses and `not` may go.
const MAX_DEPTH: usize = 100;

/// A truth value of conditions, by their places in the item's list.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    All,
    Any,
    Is(usize),
    Not(Box<Self>),
    Both(Box<(Self, Self)>),
    Either(Box<(Self, Self)>),
}

impl Expression {
    /// Reads an expression over the conditions that have these names; each must be used.
    pub(super) fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut parser = Parser { words: spaced.split_whitespace().collect(), at: 0, names, used: vec![] };
        let expression = parser.either(0).map_err(|reason| format!("`{text}`: {reason}"))?;
        if let Some(word) = parser.words.get(parser.at) {
            return Err(format!("`{text}`: `{word}` comes unexpectedly"));
        }
        match (0..names.len()).find(|at| !parser.used.contains(at)) {
            Some(unused) => Err(format!("`{text}` does not use the condition `{}`", names[unused])),
            None => Ok(expression),
        }
    }

    /// Evaluates it over `count` conditions.
    pub(super) fn holds(
        &self,
        count: usize,
        test: &mut impl FnMut(usize) -> Result<bool, String>,
    ) -> Result<bool, String> {
        let each = |test: &mut dyn FnMut(usize) -> Result<bool, String>, until: bool| {
            for at in 0..count {
                if test(at)? == until {
                    return Ok(until);
                }
            }
            Ok(!until)
        };
        match self {
            Self::All => each(test, false),
            Self::Any => each(test, true),
            Self::Is(at) => test(*at),
            Self::Not(inner) => inner.holds(count, test).map(|holds| !holds),
            Self::Both(parts) => Ok(parts.0.holds(count, test)? && parts.1.holds(count, test)?),
            Self::Either(parts) => Ok(parts.0.holds(count, test)? || parts.1.holds(count, test)?),
        }
    }
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    names: &'a [&'a str],
    used: Vec<usize>,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at).is_some_and(|next| next.eq_ignore_ascii_case(word));
        self.at += usize::from(is_next);
        is_next
    }

    fn either(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.both(depth)?;
        while self.takes("or") {
            left = Expression::Either(Box::new((left, self.both(depth)?)));
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.operand(depth)?;
        while self.takes("and") {
            left = Expression::Both(Box::new((left, self.operand(depth)?)));
        }
        Ok(left)
    }

    fn operand(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > MAX_DEPTH {
            return Err("it goes too deep".to_owned());
        }
        if self.takes("not") {
            return Ok(Expression::Not(Box::new(self.operand(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.either(depth + 1)?;
            return if self.takes(")") { Ok(inner) } else { Err("a `)` is missing".to_owned()) };
        }
        let word = self.words.get(self.at).ok_or("it ends where a condition is expected")?;
        let place = self.names.iter().position(|name| name == word);
        let place = place.ok_or_else(|| format!("`{word}` is no condition of this item"))?;
        self.at += 1;
        self.used.push(place);
        Ok(Expression::Is(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_binds_before_and_before_or() {
        let names = ["a", "b", "c"];
        for (text, held, expected) in [
            ("a or b and not c", [true, false, true], true),
            ("a or b and not c", [false, true, true], false),
            ("(a or b) and not c", [true, false, true], false),
            ("not (a and b) or c", [true, true, false], false),
        ] {
            let expression = Expression::parse(text, &names).unwrap();
            assert_eq!(expression.holds(3, &mut |at| Ok(held[at])), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("a and b", "does not use the condition `c`"),
            ("a and (b or c", "a `)` is missing"),
            ("a and d", "`d` is no condition"),
            ("a b c", "comes unexpectedly"),
            ("a and", "it ends"),
            (&"not ".repeat(1000), "too deep"),
        ] {
            let error = Expression::parse(text, &names).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
