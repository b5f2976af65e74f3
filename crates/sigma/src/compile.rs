//! Rules made into tables: predicates numbered, conditions flattened, each field's tests built.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use crate::{
    bits::{self, Words},
    cidr::{Network, Networks},
    condition::Expr,
    fields::{FieldId, Fields, FixedMap},
    guard::is_eager,
    literals::Literals,
    load::{Rule, RuleSource},
    predicate::{Number, NumberOp, Predicate, Scope, Test, TextOp},
    substrings::Substrings,
    trigger::triggers,
};

/// A predicate's number.
pub(crate) type PredicateId = u32;

/// A predicate as the matcher needs it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) field: FieldId,
    pub(crate) test: Test,
    pub(crate) answered: Answered,
}

impl Question {
    /// How much it takes to answer: nothing, where it is answered already, up to a regular expression.
    fn cost(&self) -> u8 {
        match (self.answered, &self.test) {
            (Answered::AtOnce, _) => 0,
            (Answered::WithItsField, _) => 2,
            (Answered::Alone, Test::Regex(_)) => 4,
            (Answered::Alone, Test::Text { .. } | Test::Glob(_) | Test::FieldRef { .. } | Test::Template { .. }) => 3,
            (Answered::Alone, _) => 1,
        }
    }

    /// Whether an answer is worth remembering.
    pub(crate) fn is_costly(&self) -> bool {
        matches!(self.test, Test::Regex(_) | Test::Glob(_))
    }

    /// Whether it is a keyword that is looked for at once.
    fn is_keyword(&self) -> bool {
        self.field == FieldId::ANYWHERE && self.answered == Answered::AtOnce
    }
}

/// When a predicate is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// As soon as a value is seen.
    AtOnce,
    /// When a rule first asks for one such predicate of the field: all of them together.
    WithItsField,
    /// When a rule asks for it.
    Alone,
}

/// A condition's node; the same one for all conditions that have it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    Is(PredicateId),
    Not(u32),
    All(Children),
    Any(Children),
    /// Predicates, not nodes, that are all answered at the same time, if not alone.
    AnyOf(Children),
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
    /// The nodes of several children that are asked for in more than one place.
    pub(crate) shared: Words,
}

impl Conditions {
    pub(crate) fn children(&self, children: Children) -> &[u32] {
        &self.children[children.start as usize..children.end as usize]
    }

    /// Puts the cheap children of every node first: they may settle it. Of those that cost the same, the ones come first that ask about
    /// the field that most ask about, since its values are looked at once for all.
    fn sort(&mut self, questions: &[Question]) {
        let mut costs: Vec<u8> = Vec::with_capacity(self.nodes.len());
        // What a node asks about, if it is one field.
        let mut fields: Vec<Option<FieldId>> = Vec::with_capacity(self.nodes.len());
        // A node comes after its children.
        for node in &self.nodes {
            let (cost, field) = match *node {
                Node::Is(predicate) => {
                    let question = &questions[predicate as usize];
                    (question.cost(), Some(question.field))
                }
                Node::Not(inner) => (costs[inner as usize], fields[inner as usize]),
                // Made of what is sorted.
                Node::AnyOf(_) => (0, None),
                Node::All(Children { start, end })
                | Node::Any(Children { start, end })
                | Node::AtLeast(_, Children { start, end }) => {
                    let children = &mut self.children[start as usize..end as usize];
                    let mut asking: FixedMap<Option<FieldId>, usize> = FixedMap::default();
                    for child in &*children {
                        *asking.entry(fields[*child as usize]).or_default() += 1;
                    }
                    children.sort_by_key(|child| (costs[*child as usize], Reverse(asking[&fields[*child as usize]])));
                    let cost = children.last().map_or(0, |child| costs[*child as usize]);
                    let field = children.first().and_then(|child| fields[*child as usize]);
                    (cost, field.filter(|_| asking.len() == 1))
                }
            };
            costs.push(cost);
            fields.push(field);
        }
    }

    fn push(&mut self, said: &Said) -> u32 {
        let mut add = |children: &[u32]| {
            let start = number(self.children.len());
            self.children.extend(children);
            Children { start, end: number(self.children.len()) }
        };
        let node = match said {
            Said::Is(predicate) => Node::Is(*predicate),
            Said::Not(inner) => Node::Not(*inner),
            Said::All(children) => Node::All(add(children)),
            Said::Any(children) => Node::Any(add(children)),
            Said::AtLeast(least, children) => Node::AtLeast(*least, add(children)),
        };
        self.nodes.push(node);
        number(self.nodes.len() - 1)
    }

    /// Makes lists of predicates that are answered together [`Node::AnyOf`]: such lists are long, and are gone through most.
    fn flatten(&mut self, questions: &[Question]) {
        for at in 0..self.nodes.len() {
            let Node::Any(children @ Children { start, end }) = self.nodes[at] else { continue };
            let predicate = |child: &u32| match self.nodes[*child as usize] {
                Node::Is(predicate) => Some(predicate),
                _ => None,
            };
            let list = &self.children[start as usize..end as usize];
            let Some(predicates) = list.iter().map(predicate).collect::<Option<Vec<_>>>() else { continue };
            let mut asked = predicates.iter().map(|predicate| &questions[*predicate as usize]);
            let Some(first) = asked.next() else { continue };
            let are_together = match first.answered {
                Answered::AtOnce => asked.all(|other| other.answered == Answered::AtOnce),
                Answered::WithItsField => {
                    asked.all(|other| (other.answered, other.field) == (Answered::WithItsField, first.field))
                }
                Answered::Alone => false,
            };
            if are_together {
                self.children[start as usize..end as usize].copy_from_slice(&predicates);
                self.nodes[at] = Node::AnyOf(children);
            }
        }
    }

    /// Finds the nodes whose answer serves more than once.
    fn share(&mut self) {
        let mut uses = vec![0_u32; self.nodes.len()];
        self.children.iter().chain(&self.roots).for_each(|node| uses[*node as usize] += 1);
        for node in &self.nodes {
            if let Node::Not(inner) = node {
                uses[*inner as usize] += 1;
            }
        }
        self.shared = bits::none(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            if uses[at] > 1 && matches!(node, Node::All(_) | Node::Any(_) | Node::AtLeast(..)) {
                bits::set(&mut self.shared, at);
            }
        }
    }
}

/// Tests of one field that are made as soon as a value is seen, with their predicates' numbers.
#[derive(Debug, Default)]
pub(crate) struct FieldTests {
    pub(crate) literals: Option<Box<Literals>>,
    /// Texts that no rule waits for: looked for once a rule asks.
    pub(crate) later: Option<Box<Substrings>>,
    /// Networks, which are looked for then, too.
    pub(crate) networks: Option<Networks>,
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
    pub(crate) fields: Arc<Fields>,
    pub(crate) questions: Vec<Question>,
    /// The predicates that are answered at once.
    pub(crate) at_once: Words,
    pub(crate) tests: Vec<FieldTests>,
    pub(crate) conditions: Conditions,
    pub(crate) triggered: RuleLists,
    /// Rules that can be true of an event that has nothing they name.
    pub(crate) always: Vec<u32>,
    /// Keywords, by the log source of the rules that have them.
    pub(crate) keywords: Vec<Substrings>,
    every_keyword: OnceLock<Option<Substrings>>,
    /// What each rule asks about.
    pub(crate) asked: Vec<Asked>,
}

/// What of an event a rule asks about.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) fields: Vec<FieldId>,
    /// The rule's table in [`Compiled::keywords`].
    pub(crate) keywords: Option<usize>,
}

impl Compiled {
    /// The keywords of all rules; made when first asked for, which is only where log sources decide nothing.
    pub(crate) fn every_keyword(&self) -> Option<&Substrings> {
        self.every_keyword.get_or_init(|| keywords_among(&self.questions, 0..self.questions.len())).as_ref()
    }

    /// Bytes that the tables of texts take, as far as they are made.
    pub(crate) fn literals_bytes(&self) -> usize {
        let at_once = self.tests.iter().filter_map(|tests| tests.literals.as_deref()).map(Literals::memory);
        let later = self.tests.iter().filter_map(|tests| tests.later.as_deref());
        let every = self.every_keyword.get().into_iter().flatten();
        at_once.sum::<usize>() + later.chain(&self.keywords).chain(every).map(Substrings::memory).sum::<usize>()
    }
}

pub(crate) fn compile<'n>(pack: Cow<'_, [Rule]>, named: impl IntoIterator<Item = &'n str>) -> Compiled {
    let rules: Vec<_> = pack.iter().map(|rule| &rule.expr).collect();
    let mut compiler = Compiler::default();
    let mut conditions = Conditions::default();
    for expr in &rules {
        let root = compiler.node(expr, &mut conditions);
        conditions.roots.push(root);
    }
    let mut always = Vec::new();
    let mut lists: Vec<Vec<u32>> = vec![Vec::new(); compiler.questions.len()];
    let uses = compiler.uses.clone();
    for (rule, expr) in rules.iter().enumerate() {
        // What was made for another rule's sake, none asks.
        let uses = |predicate: &Predicate| {
            compiler.ids.get(predicate).and_then(|id| uses.get(*id as usize)).map_or(0, |uses| *uses)
        };
        let Some(chosen) = triggers(expr, &uses) else {
            always.push(number(rule));
            continue;
        };
        for guard in chosen.predicates {
            let id = compiler.intern(Cow::Owned(guard)) as usize;
            lists.resize(lists.len().max(id + 1), Vec::new());
            if lists[id].last() != Some(&number(rule)) {
                lists[id].push(number(rule));
            }
        }
    }
    compiler.postpone(&lists);
    conditions.sort(&compiler.questions);
    conditions.share();
    conditions.flatten(&compiler.questions);
    let mut asked: Vec<_> = rules.iter().map(|expr| compiler.asked(expr)).collect();
    let keywords = compiler.keywords(&pack, &mut asked, &lists);
    let Compiler { mut fields, mut questions, .. } = compiler;
    for name in named {
        fields.intern(name);
    }
    // Before the tables are made, which are the largest part: what the process has once taken it keeps.
    drop(pack);
    questions.shrink_to_fit();
    conditions.nodes.shrink_to_fit();
    conditions.children.shrink_to_fit();
    Compiled {
        keywords,
        every_keyword: OnceLock::new(),
        asked,
        tests: field_tests(&fields, &questions),
        fields: Arc::new(fields),
        at_once: at_once(&questions),
        questions,
        conditions,
        triggered: RuleLists::new(lists),
        always,
    }
}

/// A node as a rule has it, with its children's numbers.
#[derive(PartialEq, Eq, Hash)]
enum Said {
    Is(PredicateId),
    Not(u32),
    All(Box<[u32]>),
    Any(Box<[u32]>),
    AtLeast(u32, Box<[u32]>),
}

struct Compiler<'r> {
    fields: Fields,
    nodes: FixedMap<Said, u32>,
    ids: FixedMap<Cow<'r, Predicate>, PredicateId>,
    questions: Vec<Question>,
    /// How often each predicate is asked.
    uses: Vec<usize>,
}

impl Default for Compiler<'_> {
    fn default() -> Self {
        let (ids, nodes) = Default::default();
        Self { fields: Fields::new(), nodes, ids, questions: Vec::new(), uses: Vec::new() }
    }
}

impl<'r> Compiler<'r> {
    fn node(&mut self, expr: &'r Expr, conditions: &mut Conditions) -> u32 {
        let mut parts = |parts: &'r [Expr]| parts.iter().map(|part| self.node(part, conditions)).collect();
        let said = match expr {
            Expr::All(all) => Said::All(parts(all)),
            Expr::Any(any) => Said::Any(parts(any)),
            Expr::AtLeast(least, of) => Said::AtLeast(number(*least), parts(of)),
            Expr::Not(inner) => Said::Not(self.node(inner, conditions)),
            Expr::Is(predicate) => {
                let id = self.intern(Cow::Borrowed(predicate));
                self.uses[id as usize] += 1;
                Said::Is(id)
            }
        };
        if let Some(known) = self.nodes.get(&said) {
            return *known;
        }
        let id = conditions.push(&said);
        self.nodes.insert(said, id);
        id
    }

    fn intern(&mut self, predicate: Cow<'r, Predicate>) -> PredicateId {
        if let Some(id) = self.ids.get(&*predicate) {
            return *id;
        }
        let field = match &predicate.scope {
            Scope::Anywhere => FieldId::ANYWHERE,
            Scope::Field(name) => self.fields.intern(name),
        };
        for name in predicate.test.other_fields() {
            self.fields.intern(name);
        }
        let id = number(self.questions.len());
        let answered = match predicate.test {
            _ if is_eager(&predicate) => Answered::AtOnce,
            Test::Cidr(_) if field != FieldId::ANYWHERE => Answered::WithItsField,
            _ => Answered::Alone,
        };
        self.questions.push(Question { field, test: predicate.test.clone(), answered });
        self.uses.push(0);
        self.ids.insert(predicate, id);
        id
    }

    /// Leaves the texts that can be anywhere in a value, and that no rule waits for, until a rule asks.
    fn postpone(&mut self, triggered: &[Vec<u32>]) {
        for (question, rules) in self.questions.iter_mut().zip(triggered) {
            let is_contains = matches!(question.test, Test::Text { op: TextOp::Contains, .. });
            if rules.is_empty() && is_contains && question.answered == Answered::AtOnce {
                question.answered = Answered::WithItsField;
            }
        }
    }

    fn asked(&self, expr: &Expr) -> Asked {
        let mut ids = Vec::new();
        self.collect(expr, &mut ids);
        let mut fields = Vec::new();
        for question in ids.into_iter().map(|id| &self.questions[id as usize]) {
            fields.push(question.field);
            fields.extend(question.test.other_fields().filter_map(|name| self.fields.get(name)));
        }
        fields.sort_unstable();
        fields.dedup();
        Asked { fields, keywords: None }
    }

    /// The keywords that each log source's rules ask or wait for, a table a source; notes in `asked` which rule has which.
    fn keywords(&self, pack: &[Rule], asked: &mut [Asked], triggered: &[Vec<u32>]) -> Vec<Substrings> {
        let mut ids = vec![Vec::new(); pack.len()];
        for (id, rules) in triggered.iter().enumerate() {
            rules.iter().for_each(|rule| ids[*rule as usize].push(number(id)));
        }
        let mut sources: Vec<(&RuleSource, BTreeSet<usize>)> = Vec::new();
        for (rule, (Rule { meta, expr, .. }, mut ids)) in pack.iter().zip(ids).enumerate() {
            self.collect(expr, &mut ids);
            let mut keywords = ids.into_iter().map(|id| id as usize).filter(|id| self.questions[*id].is_keyword());
            let Some(first) = keywords.next() else { continue };
            let at = sources.iter().position(|(known, _)| *known == &meta.logsource).unwrap_or_else(|| {
                sources.push((&meta.logsource, BTreeSet::new()));
                sources.len() - 1
            });
            asked[rule].keywords = Some(at);
            sources[at].1.extend(keywords.chain([first]));
        }
        sources.into_iter().filter_map(|(_, ids)| keywords_among(&self.questions, ids)).collect()
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
}

fn at_once(questions: &[Question]) -> Words {
    let mut words = bits::none(questions.len());
    let at_once = questions.iter().enumerate().filter(|(_, question)| question.answered == Answered::AtOnce);
    for (id, _) in at_once {
        bits::set(&mut words, id);
    }
    words
}

fn field_tests(fields: &Fields, questions: &[Question]) -> Vec<FieldTests> {
    let mut tests: Vec<FieldTests> = (0..fields.count()).map(|_| FieldTests::default()).collect();
    let mut literals: Vec<Vec<(TextOp, &str, u32)>> = vec![Vec::new(); tests.len()];
    let mut later: Vec<Vec<(&str, u32)>> = vec![Vec::new(); tests.len()];
    let mut networks: Vec<Vec<(&Network, u32)>> = vec![Vec::new(); tests.len()];
    for (id, question) in questions.iter().enumerate() {
        let (id, field) = (number(id), question.field.index());
        match &question.test {
            _ if question.answered == Answered::Alone || question.is_keyword() => {}
            Test::Text { text, .. } if question.answered == Answered::WithItsField => later[field].push((text, id)),
            Test::Text { op, text, .. } => literals[field].push((*op, text, id)),
            Test::Cidr(network) => networks[field].push((network, id)),
            Test::Number { op: NumberOp::Equal, than } => drop(tests[field].numbers.insert(*than, id)),
            Test::Bool(truth) => tests[field].truths[usize::from(*truth)] = Some(id),
            Test::Present => tests[field].present = Some(id),
            Test::NotNull => tests[field].not_null = Some(id),
            _ => {}
        }
    }
    for (((tests, literals), later), networks) in tests.iter_mut().zip(literals).zip(later).zip(networks) {
        tests.literals = (!literals.is_empty()).then(|| Box::new(Literals::new(&literals)));
        tests.later = Substrings::new(&later).map(Box::new);
        tests.networks = Networks::new(networks);
    }
    tests
}

/// A table of those predicates that are keywords to be looked for at once.
fn keywords_among(questions: &[Question], ids: impl IntoIterator<Item = usize>) -> Option<Substrings> {
    let keyword = |id: usize| match &questions[id] {
        question @ Question { test: Test::Text { text, .. }, .. } if question.is_keyword() => {
            Some((&**text, number(id)))
        }
        _ => None,
    };
    Substrings::new(&ids.into_iter().filter_map(keyword).collect::<Vec<_>>())
}

/// Counts of things made from rules in memory, of which there are fewer than 2³².
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
