//! Rules made into tables: predicates numbered, conditions flattened, each field's tests built.

use crate::{
    bits::{self, Words},
    condition::Expr,
    fields::{FieldId, Fields, FixedMap},
    guard::{guards, is_eager},
    literals::Literals,
    load::{Rule, RuleSource},
    predicate::{Number, NumberOp, Predicate, Scope, TemplatePiece, Test, TextOp},
    trigger::triggers,
};

/// A predicate's number.
pub(crate) type PredicateId = u32;

/// A predicate as the matcher needs it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) field: FieldId,
    pub(crate) test: Test,
    /// Whether it is answered as soon as a value is seen.
    pub(crate) eager: bool,
}

/// A condition's node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    Is(PredicateId),
    Not(u32),
    All(Children),
    Any(Children),
    AtLeast(u32, Children),
}

/// Where a node's children stand in [`Conditions::children`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Children {
    start: u32,
    end: u32,
}

/// All rules' conditions in one place.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) nodes: Vec<Node>,
    children: Vec<u32>,
    /// Each rule's node.
    pub(crate) roots: Vec<u32>,
}

impl Conditions {
    pub(crate) fn children(&self, children: Children) -> &[u32] {
        &self.children[children.start as usize..children.end as usize]
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        number(self.nodes.len() - 1)
    }
}

/// Tests of one field that are made as soon as a value is seen, with their predicates' numbers.
#[derive(Debug, Default)]
pub(crate) struct FieldTests {
    pub(crate) literals: Option<Box<Literals>>,
    pub(crate) numbers: FixedMap<Number, PredicateId>,
    pub(crate) truths: [Option<PredicateId>; 2],
    pub(crate) present: Option<PredicateId>,
    pub(crate) not_null: Option<PredicateId>,
}

/// Lists of rules, one for each predicate.
#[derive(Debug, Default)]
pub(crate) struct RuleLists {
    starts: Vec<u32>,
    rules: Vec<u32>,
}

impl RuleLists {
    fn new(lists: Vec<Vec<u32>>) -> Self {
        let mut joined = Self { starts: vec![0], rules: Vec::new() };
        for list in lists {
            joined.rules.extend(list);
            joined.starts.push(number(joined.rules.len()));
        }
        joined
    }

    /// The rules to look at once the predicate is true.
    pub(crate) fn of(&self, predicate: PredicateId) -> &[u32] {
        let at = predicate as usize;
        &self.rules[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// The tables.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) fields: Fields,
    pub(crate) questions: Vec<Question>,
    pub(crate) tests: Vec<FieldTests>,
    pub(crate) conditions: Conditions,
    pub(crate) triggered: RuleLists,
    /// Rules that can be true of an event that has nothing they name.
    pub(crate) always: Vec<u32>,
    /// Keywords, by the log source of the rules that have them.
    pub(crate) keywords: Vec<Keywords>,
}

/// The keywords of some rules.
#[derive(Debug)]
pub(crate) struct Keywords {
    pub(crate) rules: Words,
    pub(crate) literals: Literals,
}

pub(crate) fn compile(pack: &[Rule]) -> Compiled {
    let rules: Vec<_> = pack.iter().map(|rule| &rule.expr).collect();
    let mut compiler = Compiler::default();
    let mut conditions = Conditions::default();
    let mut keyword_rules = Vec::new();
    for (rule, expr) in rules.iter().enumerate() {
        compiler.keyword = false;
        let root = compiler.node(expr, &mut conditions);
        conditions.roots.push(root);
        if compiler.keyword {
            keyword_rules.push(number(rule));
        }
    }
    let mut always = Vec::new();
    let mut lists: Vec<Vec<u32>> = vec![Vec::new(); compiler.questions.len()];
    let uses = compiler.uses.clone();
    for (rule, expr) in rules.iter().enumerate() {
        let uses = |predicate: &Predicate| compiler.ids.get(predicate).map_or(0, |id| uses[*id as usize]);
        let chosen = triggers(expr, &uses)
            .and_then(|chosen| chosen.predicates.into_iter().map(guards).collect::<Option<Vec<_>>>());
        let Some(guards) = chosen else {
            always.push(number(rule));
            continue;
        };
        for guard in guards.into_iter().flatten() {
            let id = compiler.intern(&guard) as usize;
            lists.resize(lists.len().max(id + 1), Vec::new());
            if lists[id].last() != Some(&number(rule)) {
                lists[id].push(number(rule));
            }
        }
    }
    let keywords = compiler.keywords(pack, &keyword_rules, &lists);
    Compiled {
        tests: compiler.field_tests(),
        fields: compiler.fields,
        questions: compiler.questions,
        conditions,
        triggered: RuleLists::new(lists),
        always,
        keywords,
    }
}

struct Compiler {
    fields: Fields,
    ids: FixedMap<Predicate, PredicateId>,
    questions: Vec<Question>,
    /// How often each predicate is asked.
    uses: Vec<usize>,
    /// Whether the rule at hand has a keyword.
    keyword: bool,
}

impl Default for Compiler {
    fn default() -> Self {
        Self {
            fields: Fields::new(),
            ids: FixedMap::default(),
            questions: Vec::new(),
            uses: Vec::new(),
            keyword: false,
        }
    }
}

impl Compiler {
    fn node(&mut self, expr: &Expr, conditions: &mut Conditions) -> u32 {
        let node = match expr {
            Expr::Is(predicate) => {
                self.keyword |= predicate.scope == Scope::Anywhere;
                let id = self.intern(predicate);
                self.uses[id as usize] += 1;
                Node::Is(id)
            }
            Expr::Not(inner) => Node::Not(self.node(inner, conditions)),
            Expr::All(parts) => Node::All(self.parts(parts, conditions)),
            Expr::Any(parts) => Node::Any(self.parts(parts, conditions)),
            Expr::AtLeast(least, parts) => Node::AtLeast(number(*least), self.parts(parts, conditions)),
        };
        conditions.push(node)
    }

    fn parts(&mut self, parts: &[Expr], conditions: &mut Conditions) -> Children {
        let mut ids: Vec<_> = parts.iter().map(|part| (cost(part), self.node(part, conditions))).collect();
        // The cheap ones first: they may settle it.
        ids.sort_by_key(|(cost, _)| *cost);
        let start = number(conditions.children.len());
        conditions.children.extend(ids.into_iter().map(|(_, id)| id));
        Children { start, end: number(conditions.children.len()) }
    }

    fn intern(&mut self, predicate: &Predicate) -> PredicateId {
        if let Some(id) = self.ids.get(predicate) {
            return *id;
        }
        let field = match &predicate.scope {
            Scope::Anywhere => FieldId::ANYWHERE,
            Scope::Field(name) => self.fields.intern(name),
        };
        match &predicate.test {
            Test::FieldRef { field, .. } => drop(self.fields.intern(field)),
            Test::Template { pieces, .. } => {
                for piece in pieces {
                    if let TemplatePiece::Field(name) = piece {
                        self.fields.intern(name);
                    }
                }
            }
            _ => {}
        }
        let id = number(self.questions.len());
        self.questions.push(Question { field, test: predicate.test.clone(), eager: is_eager(predicate) });
        self.uses.push(0);
        self.ids.insert(predicate.clone(), id);
        id
    }

    /// The keywords of each log source's rules, with what else has to be seen for these rules to be looked at.
    fn keywords(&self, pack: &[Rule], keyword_rules: &[u32], triggered: &[Vec<u32>]) -> Vec<Keywords> {
        let mut sources: Vec<(&RuleSource, Words)> = Vec::new();
        for rule in keyword_rules.iter().map(|rule| *rule as usize) {
            let source = &pack[rule].meta.logsource;
            let at = sources.iter().position(|(known, _)| *known == source).unwrap_or_else(|| {
                sources.push((source, bits::none(pack.len())));
                sources.len() - 1
            });
            bits::set(&mut sources[at].1, rule);
        }
        let group = |(_, rules): (&RuleSource, Words)| {
            let mut ids = Vec::new();
            for rule in keyword_rules.iter().map(|rule| *rule as usize).filter(|rule| bits::has(&rules, *rule)) {
                self.collect(&pack[rule].expr, &mut ids);
            }
            let triggers =
                (0..triggered.len()).filter(|id| triggered[*id].iter().any(|rule| bits::has(&rules, *rule as usize)));
            ids.extend(triggers.map(number));
            ids.sort_unstable();
            ids.dedup();
            let texts: Vec<_> = ids.into_iter().filter_map(|id| self.keyword(id)).collect();
            Keywords { rules, literals: Literals::new(&texts) }
        };
        sources.into_iter().map(group).collect()
    }

    /// The text of a keyword that is looked for at once.
    fn keyword(&self, id: PredicateId) -> Option<(TextOp, &str, u32)> {
        match &self.questions[id as usize] {
            Question { field: FieldId::ANYWHERE, test: Test::Text { op, text, .. }, eager: true } => {
                Some((*op, text, id))
            }
            _ => None,
        }
    }

    fn collect(&self, expr: &Expr, ids: &mut Vec<PredicateId>) {
        match expr {
            Expr::Is(predicate) => ids.extend(self.ids.get(predicate)),
            Expr::Not(inner) => self.collect(inner, ids),
            Expr::All(parts) | Expr::Any(parts) | Expr::AtLeast(_, parts) => {
                parts.iter().for_each(|part| self.collect(part, ids));
            }
        }
    }

    fn field_tests(&self) -> Vec<FieldTests> {
        let mut tests: Vec<FieldTests> = (0..self.fields.count()).map(|_| FieldTests::default()).collect();
        let mut literals: Vec<Vec<(TextOp, &str, u32)>> = vec![Vec::new(); tests.len()];
        for (id, question) in self.questions.iter().enumerate().filter(|(_, question)| question.eager) {
            let (id, field) = (number(id), question.field.index());
            match &question.test {
                Test::Text { op, text, .. } => literals[field].push((*op, text, id)),
                Test::Number { op: NumberOp::Equal, than } => drop(tests[field].numbers.insert(*than, id)),
                Test::Bool(truth) => tests[field].truths[usize::from(*truth)] = Some(id),
                Test::Present => tests[field].present = Some(id),
                Test::NotNull => tests[field].not_null = Some(id),
                _ => {}
            }
        }
        for (tests, literals) in tests.iter_mut().zip(literals) {
            tests.literals = (!literals.is_empty()).then(|| Box::new(Literals::new(&literals)));
        }
        tests
    }
}

/// 0 for what is answered already, 1 for what is joined from more, 2 for what takes a test.
fn cost(expr: &Expr) -> u8 {
    match expr {
        Expr::Is(predicate) if is_eager(predicate) => 0,
        Expr::Is(_) => 2,
        Expr::Not(inner) => cost(inner),
        _ => 1,
    }
}

/// Counts of things made from rules in memory, of which there are fewer than 2³².
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
