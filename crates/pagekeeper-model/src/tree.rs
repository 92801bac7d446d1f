//! An ordered map from `u64` to `u64`: a B+tree with 32 entries a node.
//!
//! The three indexes of an address space share it: allocations by base, pieces of a page map by first page,
//! and free holes by address. The standard map holds at most 11 entries a node, so that a random look-up among a
//! million regions misses the cache twice as often; and it cannot answer "the lowest hole of at least n pages",
//! for which every inner node here keeps the largest value of each child (`LARGEST = true`).
//!
//! Nodes live in two vectors and point at each other by index: no unsafe code, no pointer chasing through
//! separate heap blocks, and an empty tree owns no memory.

/// Entries in a node.
const CAPACITY: usize = 32;
/// A node with fewer entries looks for a neighbour to merge with.
const SPARSE: usize = CAPACITY / 4;
/// Two nodes merge only up to here, so that the next insertion does not split them again.
const MERGED: usize = CAPACITY * 3 / 4;
/// No tree grows higher: nodes hold 8 entries on average at least, and 8^16 is beyond any memory.
const HEIGHT: usize = 16;

/// What a search remembers of the way down: the inner node and the child that was taken.
type Path = [(u32, usize); HEIGHT];

#[derive(Clone)]
struct Leaf {
    count: usize,
    keys: [u64; CAPACITY],
    values: [u64; CAPACITY],
}

#[derive(Clone)]
struct Inner {
    count: usize,
    /// The smallest key below each child.
    keys: [u64; CAPACITY],
    /// The largest value below each child; only kept when the tree's `LARGEST` is set.
    largest: [u64; CAPACITY],
    children: [u32; CAPACITY],
}

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

fn insert_at<T: Copy>(array: &mut [T; CAPACITY], count: usize, at: usize, item: T) {
    array.copy_within(at..count, at + 1);
    array[at] = item;
}

fn remove_at<T: Copy>(array: &mut [T; CAPACITY], count: usize, at: usize) {
    array.copy_within(at + 1..count, at);
}

fn append<T: Copy>(to: &mut [T; CAPACITY], to_count: usize, from: &[T]) {
    to[to_count..to_count + from.len()].copy_from_slice(from);
}

impl Leaf {
    const EMPTY: Self = Self {
        count: 0,
        keys: [0; CAPACITY],
        values: [0; CAPACITY],
    };

    #[inline]
    fn keys(&self) -> &[u64] {
        &self.keys[..self.count]
    }

    #[inline]
    fn values(&self) -> &[u64] {
        &self.values[..self.count]
    }

    fn insert(&mut self, at: usize, key: u64, value: u64) {
        insert_at(&mut self.keys, self.count, at, key);
        insert_at(&mut self.values, self.count, at, value);
        self.count += 1;
    }

    fn append(&mut self, other: &Self, from: usize) {
        append(&mut self.keys, self.count, &other.keys()[from..]);
        append(&mut self.values, self.count, &other.values()[from..]);
        self.count += other.count - from;
    }
}

impl Inner {
    const EMPTY: Self = Self {
        count: 0,
        keys: [0; CAPACITY],
        largest: [0; CAPACITY],
        children: [0; CAPACITY],
    };

    #[inline]
    fn keys(&self) -> &[u64] {
        &self.keys[..self.count]
    }

    /// The child below which `key` lies, or the first where it lies before all.
    #[inline]
    fn child_for(&self, key: u64) -> usize {
        self.keys()
            .partition_point(|&first| first <= key)
            .saturating_sub(1)
    }

    fn insert(&mut self, at: usize, child: Summary) {
        insert_at(&mut self.keys, self.count, at, child.first);
        insert_at(&mut self.largest, self.count, at, child.largest);
        insert_at(&mut self.children, self.count, at, child.node);
        self.count += 1;
    }

    fn remove(&mut self, at: usize) {
        remove_at(&mut self.keys, self.count, at);
        remove_at(&mut self.largest, self.count, at);
        remove_at(&mut self.children, self.count, at);
        self.count -= 1;
    }

    fn append(&mut self, other: &Self, from: usize) {
        append(&mut self.keys, self.count, &other.keys()[from..]);
        append(
            &mut self.largest,
            self.count,
            &other.largest[from..other.count],
        );
        append(
            &mut self.children,
            self.count,
            &other.children[from..other.count],
        );
        self.count += other.count - from;
    }
}

/// What a parent keeps of a child.
#[derive(Clone, Copy)]
struct Summary {
    node: u32,
    first: u64,
    largest: u64,
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

    /// Walks down to the leaf for `key`, remembering the way.
    fn descend(&self, key: u64, path: &mut Path) -> u32 {
        let mut node = self.root;
        for step in path.iter_mut().take(self.height) {
            let inner = &self.inners[node as usize];
            let at = inner.child_for(key);
            *step = (node, at);
            node = inner.children[at];
        }
        node
    }

    fn summary(&self, level: usize, node: u32) -> Summary {
        let (first, values) = if level == 0 {
            let leaf = &self.leaves[node as usize];
            (leaf.keys[0], leaf.values())
        } else {
            let inner = &self.inners[node as usize];
            (inner.keys[0], &inner.largest[..inner.count])
        };
        let largest = if LARGEST {
            values.iter().copied().max().unwrap_or(0)
        } else {
            0
        };
        Summary {
            node,
            first,
            largest,
        }
    }

    /// Puts `value` at `key`, replacing what was there.
    pub(crate) fn insert(&mut self, key: u64, value: u64) {
        if self.len == 0 {
            self.root = self.new_leaf();
            self.height = 0;
        }
        let mut path: Path = [(0, 0); HEIGHT];
        let node = self.descend(key, &mut path);
        let leaf = &mut self.leaves[node as usize];
        let at = leaf.keys().partition_point(|&k| k < key);
        let mut split = None;
        if leaf.keys().get(at) == Some(&key) {
            leaf.values[at] = value;
            if !LARGEST {
                return;
            }
        } else {
            self.len += 1;
            if leaf.count < CAPACITY {
                leaf.insert(at, key, value);
                if !LARGEST && at > 0 {
                    return;
                }
            } else {
                split = Some(self.split_leaf(node, at, key, value));
            }
        }
        self.update_upwards(&path, split);
    }

    /// After a leaf changed: corrects what its parents know, and hangs in nodes that were split off.
    fn update_upwards(&mut self, path: &Path, mut split: Option<u32>) {
        for level in 1..=self.height {
            let (node, at) = path[self.height - level];
            let child = self.inners[node as usize].children[at];
            let summary = self.summary(level - 1, child);
            let new = split.map(|node| self.summary(level - 1, node));
            let inner = &mut self.inners[node as usize];
            inner.keys[at] = summary.first;
            inner.largest[at] = summary.largest;
            split = None;
            let Some(new) = new else { continue };
            if inner.count < CAPACITY {
                inner.insert(at + 1, new);
            } else {
                split = Some(self.split_inner(node, at + 1, new));
            }
        }
        if let Some(right) = split {
            let summaries = [self.root, right].map(|node| self.summary(self.height, node));
            let root = self.new_inner();
            for (at, summary) in summaries.into_iter().enumerate() {
                self.inners[root as usize].insert(at, summary);
            }
            self.root = root;
            self.height += 1;
        }
    }

    /// Where a full node is cut: ascending insertions leave full nodes behind, others halves.
    fn cut(at: usize) -> usize {
        if at == CAPACITY {
            CAPACITY
        } else {
            CAPACITY / 2
        }
    }

    fn split_leaf(&mut self, node: u32, at: usize, key: u64, value: u64) -> u32 {
        let right = self.new_leaf();
        let cut = Self::cut(at);
        let mut upper = Leaf::EMPTY;
        let lower = &mut self.leaves[node as usize];
        upper.append(lower, cut);
        lower.count = cut;
        if at >= cut && (at > cut || cut == CAPACITY) {
            upper.insert(at - cut, key, value);
        } else {
            lower.insert(at, key, value);
        }
        self.leaves[right as usize] = upper;
        right
    }

    fn split_inner(&mut self, node: u32, at: usize, child: Summary) -> u32 {
        let right = self.new_inner();
        let cut = Self::cut(at);
        let mut upper = Inner::EMPTY;
        let lower = &mut self.inners[node as usize];
        upper.append(lower, cut);
        lower.count = cut;
        if at >= cut && (at > cut || cut == CAPACITY) {
            upper.insert(at - cut, child);
        } else {
            lower.insert(at, child);
        }
        self.inners[right as usize] = upper;
        right
    }

    /// Takes the entry at `key` out and returns its value.
    pub(crate) fn remove(&mut self, key: u64) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let mut path: Path = [(0, 0); HEIGHT];
        let node = self.descend(key, &mut path);
        let leaf = &mut self.leaves[node as usize];
        let at = leaf.keys().binary_search(&key).ok()?;
        let value = leaf.values[at];
        remove_at(&mut leaf.keys, leaf.count, at);
        remove_at(&mut leaf.values, leaf.count, at);
        leaf.count -= 1;
        self.len -= 1;
        if self.len == 0 {
            self.clear();
            return Some(value);
        }
        for level in 1..=self.height {
            let (node, at) = path[self.height - level];
            self.repair_child(level, node, at);
        }
        while self.height > 0 && self.inners[self.root as usize].count == 1 {
            let root = self.root;
            self.root = self.inners[root as usize].children[0];
            self.free_inners.push(root);
            self.height -= 1;
        }
        Some(value)
    }

    /// Drops every entry; keeps the memory of one leaf at most.
    pub(crate) fn clear(&mut self) {
        self.leaves.clear();
        self.leaves.shrink_to(1);
        self.inners = Vec::new();
        self.free_leaves = Vec::new();
        self.free_inners = Vec::new();
        self.height = 0;
        self.len = 0;
    }

    /// After child `at` of `node` lost an entry: drops it when empty, merges it when sparse, and corrects what
    /// `node` knows of it.
    fn repair_child(&mut self, level: usize, node: u32, at: usize) {
        let inner = &self.inners[node as usize];
        let (count, child) = (inner.count, inner.children[at]);
        let size = self.node_count(level - 1, child);
        if size == 0 {
            self.free_node(level - 1, child);
            self.inners[node as usize].remove(at);
            return;
        }
        let mut left = at;
        if size < SPARSE && count > 1 {
            left = if at + 1 < count { at } else { at - 1 };
            let inner = &self.inners[node as usize];
            let (a, b) = (inner.children[left], inner.children[left + 1]);
            if self.node_count(level - 1, a) + self.node_count(level - 1, b) <= MERGED {
                self.merge(level - 1, a, b);
                self.inners[node as usize].remove(left + 1);
            } else {
                left = at;
            }
        }
        let summary = self.summary(level - 1, self.inners[node as usize].children[left]);
        let inner = &mut self.inners[node as usize];
        inner.keys[left] = summary.first;
        inner.largest[left] = summary.largest;
    }

    fn node_count(&self, level: usize, node: u32) -> usize {
        if level == 0 {
            self.leaves[node as usize].count
        } else {
            self.inners[node as usize].count
        }
    }

    fn merge(&mut self, level: usize, left: u32, right: u32) {
        if level == 0 {
            let upper = self.leaves[right as usize].clone();
            self.leaves[left as usize].append(&upper, 0);
        } else {
            let upper = self.inners[right as usize].clone();
            self.inners[left as usize].append(&upper, 0);
        }
        self.free_node(level, right);
    }

    fn new_leaf(&mut self) -> u32 {
        if let Some(node) = self.free_leaves.pop() {
            self.leaves[node as usize].count = 0;
            return node;
        }
        if self.leaves.len() == self.leaves.capacity() {
            // The vector's own smallest step is four; most trees of a page map stay within one leaf.
            self.leaves.reserve_exact(self.leaves.len().max(1));
        }
        self.leaves.push(Leaf::EMPTY);
        (self.leaves.len() - 1) as u32
    }

    fn new_inner(&mut self) -> u32 {
        if let Some(node) = self.free_inners.pop() {
            self.inners[node as usize].count = 0;
            return node;
        }
        if self.inners.len() == self.inners.capacity() {
            self.inners.reserve_exact(self.inners.len().max(1));
        }
        self.inners.push(Inner::EMPTY);
        (self.inners.len() - 1) as u32
    }

    fn free_node(&mut self, level: usize, node: u32) {
        if level == 0 {
            self.free_leaves.push(node);
        } else {
            self.free_inners.push(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn compare(tree: &Tree<true>, map: &BTreeMap<u64, u64>, probe: u64) {
        let pair = |(k, v): (&u64, &u64)| (*k, *v);
        assert_eq!(tree.len(), map.len());
        assert_eq!(tree.get(probe), map.get(&probe).copied());
        assert_eq!(tree.floor(probe), map.range(..=probe).next_back().map(pair));
        assert_eq!(tree.ceiling(probe), map.range(probe..).next().map(pair));
        let next = map.range(probe + 1..).next().map(|(k, _)| *k);
        assert_eq!(
            tree.floor_and_next(probe),
            tree.floor(probe).map(|floor| (floor, next))
        );
        let between = map.range(probe..probe + 50).count().min(9);
        assert_eq!(tree.count_between(probe, probe + 50, 9), between);
    }

    #[test]
    fn it_agrees_with_the_standard_map() {
        let mut tree = Tree::<true>::new();
        let mut map = BTreeMap::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        for step in 0..200_000u64 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Waves of growing and shrinking, so that nodes split and merge at every level.
            let growing = (step / 20_000).is_multiple_of(2);
            let key = (random >> 8) % 20_000;
            if (random % 8 < 6) == growing {
                tree.insert(key, random % 1000);
                map.insert(key, random % 1000);
            } else {
                assert_eq!(tree.remove(key), map.remove(&key));
            }
            compare(&tree, &map, (random >> 32) % 20_100);
            if step.is_multiple_of(500) {
                let wanted = random % 1001;
                let first = map
                    .iter()
                    .find(|(_, v)| **v >= wanted)
                    .map(|(k, v)| (*k, *v));
                let last = map
                    .iter()
                    .rfind(|(_, v)| **v >= wanted)
                    .map(|(k, v)| (*k, *v));
                assert_eq!(tree.first_at_least(wanted), first);
                assert_eq!(tree.last_at_least(wanted), last);
            }
        }
        for key in 0..20_000 {
            assert_eq!(tree.remove(key), map.remove(&key));
        }
        assert_eq!(tree.len(), 0);
        assert!(
            tree.heap_bytes() <= size_of::<Leaf>(),
            "an empty tree keeps one leaf at most"
        );
    }

    #[test]
    fn ascending_insertions_fill_the_nodes() {
        let mut tree = Tree::<false>::new();
        for key in 0..32_000 {
            tree.insert(key, key);
        }
        assert!(
            tree.leaves.len() <= 1_001,
            "{} leaves for 32,000 entries",
            tree.leaves.len()
        );
        assert_eq!(tree.floor(u64::MAX), Some((31_999, 31_999)));
    }
}
