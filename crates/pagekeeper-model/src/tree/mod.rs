//! An ordered map from `u64` to `u64`: a B+tree with up to 64 entries a node.
//!
//! The three indexes of an address space share it: allocations by base, pieces of a page map by first page,
//! and free holes by address. The standard map holds at most 11 entries a node, so that a random look-up among a
//! million regions misses the cache twice as often; and it cannot answer "the lowest hole of at least n pages",
//! for which every inner node here keeps the largest value of each child (`LARGEST = true`).
//!
//! Nodes live in two vectors and point at each other by index: no unsafe code, no pointer chasing through
//! separate heap blocks, and an empty tree owns no memory.

mod change;
mod node;
#[cfg(test)]
mod tests;

use node::{Inner, Leaf};

/// No tree grows higher: nodes hold 4 entries at least, and 4^20 is beyond any memory.
const HEIGHT: usize = 20;

/// What a search remembers of the way down: the inner node and the child that was taken.
type Path = [(u32, usize); HEIGHT];

/// See the module text.
pub(crate) struct Tree<const LARGEST: bool> {
    leaves: Vec<Leaf>,
    inners: Vec<Inner>,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    root: u32,
    /// Inner levels above the leaves.
    height: usize,
    len: usize,
}

impl<const LARGEST: bool> Tree<LARGEST> {
    pub(crate) const fn new() -> Self {
        Self {
            leaves: Vec::new(),
            inners: Vec::new(),
            free_leaves: Vec::new(),
            free_inners: Vec::new(),
            root: 0,
            height: 0,
            len: 0,
        }
    }

    /// Number of entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Heap memory in bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.leaves.capacity() * size_of::<Leaf>()
            + self.inners.capacity() * size_of::<Inner>()
            + (self.free_leaves.capacity() + self.free_inners.capacity()) * size_of::<u32>()
    }

    /// The leaf below which `key` belongs, and the smallest key above that leaf.
    #[inline]
    fn leaf_for(&self, key: u64) -> Option<(&Leaf, Option<u64>)> {
        if self.len == 0 {
            return None;
        }
        let mut node = self.root;
        let mut above = None;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let at = inner.child_for(key);
            if at + 1 < inner.count {
                above = Some(inner.keys[at + 1]);
            }
            node = inner.children[at];
        }
        Some((&self.leaves[node as usize], above))
    }

    /// The value at exactly `key`.
    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<u64> {
        let (leaf, _) = self.leaf_for(key)?;
        let at = leaf.keys().binary_search(&key).ok()?;
        Some(leaf.values[at])
    }

    /// The entry with the largest key that is not above `key`.
    #[inline]
    pub(crate) fn floor(&self, key: u64) -> Option<(u64, u64)> {
        let (leaf, _) = self.leaf_for(key)?;
        let at = leaf.keys().partition_point(|&k| k <= key).checked_sub(1)?;
        Some((leaf.keys[at], leaf.values[at]))
    }

    /// [`Tree::floor`] and the key of the entry after it, in one walk. `None` where no entry is at or below.
    #[inline]
    pub(crate) fn floor_and_next(&self, key: u64) -> Option<((u64, u64), Option<u64>)> {
        let (leaf, above) = self.leaf_for(key)?;
        let next = leaf.keys().partition_point(|&k| k <= key);
        let at = next.checked_sub(1)?;
        let next_key = if next < leaf.count {
            Some(leaf.keys[next])
        } else {
            above
        };
        Some(((leaf.keys[at], leaf.values[at]), next_key))
    }

    /// The entry with the smallest key that is not below `key`.
    #[inline]
    pub(crate) fn ceiling(&self, key: u64) -> Option<(u64, u64)> {
        let (leaf, above) = self.leaf_for(key)?;
        let at = leaf.keys().partition_point(|&k| k < key);
        if at < leaf.count {
            return Some((leaf.keys[at], leaf.values[at]));
        }
        let key = above?;
        Some((key, self.get(key)?))
    }

    /// How many keys lie in `low..high`, counted up to `limit`.
    pub(crate) fn count_between(&self, low: u64, high: u64, limit: usize) -> usize {
        let mut from = low;
        let mut count = 0;
        while let Some((leaf, above)) = self.leaf_for(from) {
            let first = leaf.keys().partition_point(|&k| k < from);
            let end = leaf.keys().partition_point(|&k| k < high);
            count += end - first.min(end);
            match above {
                Some(key) if key < high && count < limit => from = key,
                _ => break,
            }
        }
        count.min(limit)
    }

    /// The entry with the smallest key whose value is at least `value`.
    pub(crate) fn first_at_least(&self, value: u64) -> Option<(u64, u64)> {
        const { assert!(LARGEST, "the tree does not keep the largest values") };
        self.at_least(|values| values.iter().position(|&v| v >= value))
    }

    /// The entry with the largest key whose value is at least `value`.
    pub(crate) fn last_at_least(&self, value: u64) -> Option<(u64, u64)> {
        const { assert!(LARGEST, "the tree does not keep the largest values") };
        self.at_least(|values| values.iter().rposition(|&v| v >= value))
    }

    fn at_least(&self, choose: impl Fn(&[u64]) -> Option<usize>) -> Option<(u64, u64)> {
        if self.len == 0 {
            return None;
        }
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            node = inner.children[choose(&inner.largest[..inner.count])?];
        }
        let leaf = &self.leaves[node as usize];
        let at = choose(leaf.values())?;
        Some((leaf.keys[at], leaf.values[at]))
    }
}
