//! Insertion, removal and moving of entries.

use super::node::{Exchange, INNER, Inner, LEAF, Leaf, Summary, cut, merged, remove_at, sparse};
use super::{HEIGHT, Path, Tree};

impl<const LARGEST: bool> Tree<LARGEST> {
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

    /// The summary of child `at` of `node`, below which nothing but one value was exchanged.
    fn summary_after(&self, level: usize, node: u32, at: usize, exchange: Exchange) -> Summary {
        let inner = &self.inners[node as usize];
        let child = inner.children[at];
        let known = if LARGEST {
            exchange.largest(inner.largest[at])
        } else {
            Some(0)
        };
        let Some(largest) = known else {
            return self.summary(level - 1, child);
        };
        let first = if level == 1 {
            self.leaves[child as usize].keys[0]
        } else {
            self.inners[child as usize].keys[0]
        };
        Summary {
            node: child,
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
        let mut exchange = Exchange {
            gone: 0,
            new: value,
        };
        if leaf.keys().get(at) == Some(&key) {
            exchange.gone = leaf.values[at];
            leaf.values[at] = value;
            if !LARGEST {
                return;
            }
        } else {
            self.len += 1;
            if leaf.count < LEAF {
                leaf.insert(at, key, value);
                if !LARGEST && at > 0 {
                    return;
                }
            } else {
                split = Some(self.split_leaf(node, at, key, value));
            }
        }
        self.update_upwards(&path, split, exchange);
    }

    /// Moves the entry at `key` to `new_key` and gives it `value`, in place. No other key may lie between the two.
    /// False when there is no entry at `key`.
    pub(crate) fn rekey(&mut self, key: u64, new_key: u64, value: u64) -> bool {
        if self.len == 0 {
            return false;
        }
        let mut path: Path = [(0, 0); HEIGHT];
        let node = self.descend(key, &mut path);
        let leaf = &mut self.leaves[node as usize];
        let Ok(at) = leaf.keys().binary_search(&key) else {
            return false;
        };
        debug_assert!(
            at == 0 || leaf.keys[at - 1] < new_key,
            "keys would be out of order"
        );
        debug_assert!(at + 1 == leaf.count || new_key < leaf.keys[at + 1]);
        let exchange = Exchange {
            gone: leaf.values[at],
            new: value,
        };
        leaf.keys[at] = new_key;
        leaf.values[at] = value;
        if LARGEST || at == 0 {
            self.update_upwards(&path, None, exchange);
        }
        true
    }

    /// How many levels from the root down the way keeps to the leftmost child.
    fn leftmost_levels(&self, path: &Path) -> usize {
        path[..self.height]
            .iter()
            .take_while(|(_, at)| *at == 0)
            .count()
    }

    /// After a leaf changed: corrects what its parents know, and hangs in nodes that were split off.
    fn update_upwards(&mut self, path: &Path, mut split: Option<u32>, exchange: Exchange) {
        let leftmost = self.leftmost_levels(path);
        for level in 1..=self.height {
            let step = self.height - level;
            let (node, at) = path[step];
            let summary = match split {
                None => self.summary_after(level, node, at, exchange),
                Some(_) => self.summary(level - 1, self.inners[node as usize].children[at]),
            };
            let new = split.map(|node| self.summary(level - 1, node));
            let inner = &mut self.inners[node as usize];
            let changed = inner.update(at, summary, step < leftmost);
            split = None;
            let Some(new) = new else {
                if changed {
                    continue;
                }
                // What the parent knows is still right, and so is everything above it.
                return;
            };
            if inner.count < INNER {
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

    fn split_leaf(&mut self, node: u32, at: usize, key: u64, value: u64) -> u32 {
        let right = self.new_leaf();
        let cut = cut(LEAF, at);
        let mut upper = Leaf::EMPTY;
        let lower = &mut self.leaves[node as usize];
        upper.append(lower, cut);
        lower.count = cut;
        if at >= cut && (at > cut || cut == LEAF) {
            upper.insert(at - cut, key, value);
        } else {
            lower.insert(at, key, value);
        }
        self.leaves[right as usize] = upper;
        right
    }

    fn split_inner(&mut self, node: u32, at: usize, child: Summary) -> u32 {
        let right = self.new_inner();
        let cut = cut(INNER, at);
        let mut upper = Inner::EMPTY;
        let lower = &mut self.inners[node as usize];
        upper.append(lower, cut);
        lower.count = cut;
        if at >= cut && (at > cut || cut == INNER) {
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
        let exchange = Exchange {
            gone: value,
            new: 0,
        };
        let leftmost = self.leftmost_levels(&path);
        for level in 1..=self.height {
            let step = self.height - level;
            let (node, at) = path[step];
            if !self.repair_child(level, (node, at), step < leftmost, exchange) {
                break;
            }
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
    /// `node` knows of it. False when `node` is as it was, so that nothing above it changes either.
    fn repair_child(
        &mut self,
        level: usize,
        (node, at): (u32, usize),
        leftmost: bool,
        exchange: Exchange,
    ) -> bool {
        let inner = &self.inners[node as usize];
        let (count, child) = (inner.count, inner.children[at]);
        let size = self.node_count(level - 1, child);
        if size == 0 {
            self.free_node(level - 1, child);
            self.inners[node as usize].remove(at);
            return true;
        }
        let capacity = if level == 1 { LEAF } else { INNER };
        if size < sparse(capacity) && count > 1 {
            let left = if at + 1 < count { at } else { at - 1 };
            let (a, b) = (inner.children[left], inner.children[left + 1]);
            if self.node_count(level - 1, a) + self.node_count(level - 1, b) <= merged(capacity) {
                self.merge(level - 1, a, b);
                let summary = self.summary(level - 1, a);
                let inner = &mut self.inners[node as usize];
                inner.remove(left + 1);
                inner.update(left, summary, leftmost);
                return true;
            }
        }
        let summary = self.summary_after(level, node, at, exchange);
        self.inners[node as usize].update(at, summary, leftmost)
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
