//! Texts that a value may begin with (or, read backwards, end with), all tried in one short walk.

/// Texts, each with a number, found at the start of a sequence of bytes.
///
/// A walk costs as many steps as the value agrees with any of the texts, mostly a few, and does not depend on how many
/// texts there are.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// The nodes' edges, sorted by byte within each node.
    edges: Vec<(u8, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    first_edge: u32,
    edges: u16,
    /// The text that ends here.
    number: Option<u32>,
}

impl Trie {
    /// From texts as byte sequences; no two are equal.
    pub(crate) fn new(mut texts: Vec<(Vec<u8>, u32)>) -> Self {
        texts.sort_unstable();
        let mut trie = Self::default();
        if !texts.is_empty() {
            trie.add(&texts, 0);
        }
        trie.nodes.shrink_to_fit();
        trie.edges.shrink_to_fit();
        trie
    }

    /// Adds the node that `texts` share, all equal in their first `depth` bytes.
    fn add(&mut self, texts: &[(Vec<u8>, u32)], depth: usize) -> u32 {
        let id = self.nodes.len();
        let (ending, longer) = texts.split_at(usize::from(texts[0].0.len() == depth));
        let groups: Vec<_> = longer.chunk_by(|a, b| a.0[depth] == b.0[depth]).collect();
        let first_edge = self.edges.len();
        self.nodes.push(Node {
            first_edge: u32::try_from(first_edge).unwrap_or(u32::MAX),
            edges: u16::try_from(groups.len()).unwrap_or(u16::MAX),
            number: ending.first().map(|(_, number)| *number),
        });
        self.edges.extend(groups.iter().map(|group| (group[0].0[depth], 0)));
        for (offset, group) in groups.iter().enumerate() {
            self.edges[first_edge + offset].1 = self.add(group, depth + 1);
        }
        u32::try_from(id).unwrap_or(u32::MAX)
    }

    /// Calls `found` with the number of every text that `bytes` begin with.
    pub(crate) fn walk(&self, bytes: impl Iterator<Item = u8>, mut found: impl FnMut(u32)) {
        let Some(mut node) = self.nodes.first() else { return };
        for byte in bytes {
            let edges = &self.edges[node.first_edge as usize..][..usize::from(node.edges)];
            // Below some ten, going through is faster than halving.
            let next = if edges.len() < 12 {
                edges.iter().find(|(edge, _)| *edge == byte)
            } else {
                edges.binary_search_by_key(&byte, |(edge, _)| *edge).ok().map(|at| &edges[at])
            };
            let Some((_, next)) = next else { return };
            node = &self.nodes[*next as usize];
            if let Some(number) = node.number {
                found(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_text_that_a_value_begins_with() {
        let trie = Trie::new(vec![(b"a".to_vec(), 1), (b"abc".to_vec(), 2), (b"b".to_vec(), 3)]);
        for (value, expected) in [("abcd", vec![1, 2]), ("ab", vec![1]), ("b", vec![3]), ("c", vec![]), ("", vec![])] {
            let mut found = Vec::new();
            trie.walk(value.bytes(), |number| found.push(number));
            assert_eq!(found, expected, "{value}");
        }
    }
}
