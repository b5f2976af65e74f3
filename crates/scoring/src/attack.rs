//! MITRE ATT&CK's names for what rules are tagged with.

use std::collections::HashMap;

use cybervault_model::AttackRef;

/// How many tags of one rule are looked at.
const MAX_TAGS: usize = 64;

/// Tactics and techniques by id.
#[derive(Clone, Debug, Default)]
pub struct AttackTable {
    /// In the order of the matrix, which is the order in which an attack goes on.
    tactics: Vec<Tactic>,
    techniques: HashMap<String, Technique>,
}

#[derive(Clone, Debug)]
struct Tactic {
    id: String,
    name: String,
    /// `lateral-movement`.
    short_name: String,
}

#[derive(Clone, Debug)]
struct Technique {
    name: String,
    /// Places in `AttackTable::tactics`.
    tactics: Vec<usize>,
}

/// A line that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading {file}, line {line}: {problem}; a line is three columns with tabs between them, or begins with `#`")]
pub struct InvalidAttackTable {
    file: &'static str,
    line: usize,
    problem: String,
}

/// What one rule's tags say of ATT&CK.
#[derive(Clone, Debug, Default)]
pub struct Attack(pub(crate) Vec<PlacedRef>);

/// A reference with its tactic's place in the matrix.
pub(crate) type PlacedRef = (usize, AttackRef);

impl AttackTable {
    /// The one that ships with the product (content/attack).
    pub fn embedded() -> Self {
        let tactics = include_str!("../../../content/attack/tactics.tsv");
        let techniques = include_str!("../../../content/attack/techniques.tsv");
        // It can be read: a test sees to that. Without it, ids stand without names.
        Self::parse(tactics, techniques).unwrap_or_default()
    }

    /// Reads both tables: `tactics` has id, name and short name in the order of the matrix; `techniques` has id, name and
    /// the short names of the technique's tactics, with commas between them.
    ///
    /// # Errors
    /// When a line has other columns, or names a tactic that is not there.
    pub fn parse(tactics: &str, techniques: &str) -> Result<Self, InvalidAttackTable> {
        let mut table = Self::default();
        for row in rows("tactics.tsv", tactics) {
            let (_, [id, name, short_name]) = row?;
            let [id, name, short_name] = [id, name, short_name].map(str::to_owned);
            table.tactics.push(Tactic { id, name, short_name });
        }
        for row in rows("techniques.tsv", techniques) {
            let (line, [id, name, of]) = row?;
            let tactics = of.split(',').map(|short_name| {
                table.tactic(short_name.trim()).ok_or_else(|| InvalidAttackTable {
                    file: "techniques.tsv",
                    line,
                    problem: format!("`{short_name}` is not a tactic of tactics.tsv"),
                })
            });
            let tactics = tactics.collect::<Result<_, _>>()?;
            table.techniques.insert(id.to_owned(), Technique { name: name.to_owned(), tactics });
        }
        Ok(table)
    }

    /// How many techniques it has names for.
    pub fn len(&self) -> usize {
        self.techniques.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.techniques.is_empty()
    }

    /// Whether it has the technique of this id.
    pub fn has_technique(&self, id: &str) -> bool {
        technique_id(id).is_some_and(|id| self.techniques.contains_key(&id))
    }

    /// Whether it has the tactic of this id or name.
    pub fn has_tactic(&self, text: &str) -> bool {
        self.tactic(&text.replace(' ', "-")).is_some()
    }

    /// What a rule's `tags` refer to (Sigma's `attack.` namespace: `attack.execution`, `attack.t1059.001`).
    ///
    /// A technique may serve several tactics: those that are tagged too are meant, or all where none of them is. A tactic
    /// without a technique stands alone. An unknown technique keeps its id, without a name.
    pub fn refs(&self, tags: &[String]) -> Attack {
        let tags = || tags.iter().take(MAX_TAGS).filter_map(|tag| tag.strip_prefix("attack."));
        let tagged: Vec<usize> = tags().filter_map(|tag| self.tactic(tag)).collect();
        let mut refs = Vec::new();
        for id in tags().filter_map(technique_id) {
            let (name, served) = self.techniques.get(&id).map_or(("", &tagged), |t| (t.name.as_str(), &t.tactics));
            let meant: Vec<usize> = served.iter().copied().filter(|tactic| tagged.contains(tactic)).collect();
            let meant = if meant.is_empty() { served } else { &meant };
            if meant.is_empty() {
                refs.push(self.reference(None, &id, name));
            }
            refs.extend(meant.iter().map(|&tactic| self.reference(Some(tactic), &id, name)));
        }
        for tactic in tagged {
            if !refs.iter().any(|(place, _)| *place == tactic) {
                refs.push(self.reference(Some(tactic), "", ""));
            }
        }
        Attack(refs)
    }

    fn reference(&self, tactic: Option<usize>, technique_id: &str, technique: &str) -> PlacedRef {
        let place = tactic.unwrap_or(usize::MAX);
        let (tactic_id, tactic) = self.tactics.get(place).map_or(("", ""), |tactic| (&tactic.id, &tactic.name));
        let [tactic_id, tactic, technique_id, technique] = [tactic_id, tactic, technique_id, technique].map(Into::into);
        (place, AttackRef { tactic_id, tactic, technique_id, technique })
    }

    /// The place of a tactic by its short name or id, as tags write them.
    fn tactic(&self, tag: &str) -> Option<usize> {
        let tag = tag.to_ascii_lowercase().replace('_', "-");
        // ATT&CK 19 split defense evasion in two; the newest public rules have these tags.
        let tag = match tag.as_str() {
            "stealth" | "defense-impairment" => "defense-evasion",
            other => other,
        };
        self.tactics.iter().position(|tactic| tactic.short_name == tag || tactic.id.eq_ignore_ascii_case(tag))
    }
}

/// `t1059.001` as `T1059.001`; `None` for what is no technique's id.
fn technique_id(tag: &str) -> Option<String> {
    let digits = tag.strip_prefix(['t', 'T'])?;
    let (technique, sub) = digits.split_once('.').map_or((digits, None), |(technique, sub)| (technique, Some(sub)));
    let are_digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    let is_id = are_digits(technique, 4) && sub.is_none_or(|sub| are_digits(sub, 3));
    is_id.then(|| format!("T{digits}"))
}

/// The rows of a table with their line numbers.
fn rows<'t>(
    file: &'static str,
    text: &'t str,
) -> impl Iterator<Item = Result<(usize, [&'t str; 3]), InvalidAttackTable>> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(move |(number, line)| {
        let columns: Vec<&str> = line.split('\t').collect();
        let columns = <[&str; 3]>::try_from(columns).map_err(|columns| InvalidAttackTable {
            file,
            line: number,
            problem: format!("{} columns", columns.len()),
        })?;
        Ok((number, columns))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(tags: &[&str]) -> Vec<String> {
        let tags: Vec<String> = tags.iter().map(|&tag| tag.to_owned()).collect();
        let refs = AttackTable::embedded().refs(&tags);
        refs.0
            .into_iter()
            .map(|(_, found)| {
                format!("{} {}/{} {}", found.tactic_id, found.tactic, found.technique_id, found.technique)
            })
            .collect()
    }

    #[test]
    fn tags_become_tactics_and_techniques_with_their_names() {
        assert!(AttackTable::embedded().len() > 600);
        assert_eq!(said(&["attack.execution", "attack.t1059.001"]), ["TA0002 Execution/T1059.001 PowerShell"]);
        // T1053.005 serves three tactics; the tagged one is meant.
        assert_eq!(said(&["attack.t1053.005", "attack.persistence"]), ["TA0003 Persistence/T1053.005 Scheduled Task"]);
        assert_eq!(said(&["attack.t1053.005"]).len(), 3);
        assert_eq!(said(&["attack.lateral_movement"]), ["TA0008 Lateral Movement/ "]);
        assert_eq!(said(&["attack.stealth"]), ["TA0005 Defense Evasion/ "]);
        assert_eq!(said(&["attack.t9999", "attack.impact"]), ["TA0040 Impact/T9999 "]);
        assert_eq!(said(&["attack.t9999"]), [" /T9999 "]);
        assert_eq!(said(&["attack.g0001", "attack.s0002", "cve.2021-44228", "attack.t10", "attack.t1059.1"]), [""; 0]);
    }

    #[test]
    fn a_table_that_cannot_be_read_is_refused_with_its_line() {
        let error = AttackTable::parse("TA0001\tInitial Access", "").unwrap_err().to_string();
        assert!(error.contains("tactics.tsv, line 1: 2 columns"), "{error}");
        let error = AttackTable::parse("", "# x\nT1\tX\tmagic").unwrap_err().to_string();
        assert!(error.contains("techniques.tsv, line 2: `magic` is not a tactic"), "{error}");
    }
}
