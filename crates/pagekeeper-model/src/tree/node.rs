//! Nodes of the tree, and what a parent keeps of a child.

/// Entries in an inner node. The inner levels of a million entries fit a processor's cache.
pub(super) const INNER: usize = 64;
/// Entries in a leaf. Smaller, because a look-up in a large tree finds its leaf in no cache.
pub(super) const LEAF: usize = 16;
/// A node of `capacity` with fewer entries than this looks for a neighbour to merge with.
pub(super) const fn sparse(capacity: usize) -> usize {
    capacity / 4
}

/// Two nodes merge only up to here, so that the next insertion does not split them again.
pub(super) const fn merged(capacity: usize) -> usize {
    capacity * 3 / 4
}

/// Where a full node is cut: ascending insertions leave full nodes behind, others halves.
pub(super) const fn cut(capacity: usize, at: usize) -> usize {
    if at == capacity {
        capacity
    } else {
        capacity / 2
    }
}

#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) count: usize,
    pub(super) keys: [u64; LEAF],
    pub(super) values: [u64; LEAF],
}

#[derive(Clone)]
pub(super) struct Inner {
    pub(super) count: usize,
    /// The smallest key below each child. That of the leftmost child of the whole tree is not kept up to date at any
    /// level, because no search asks for it; the lowest hole changes often.
    pub(super) keys: [u64; INNER],
    /// The largest value below each child; only kept when the tree's `LARGEST` is set.
    pub(super) largest: [u64; INNER],
    pub(super) children: [u32; INNER],
}

pub(super) fn insert_at<T: Copy>(array: &mut [T], count: usize, at: usize, item: T) {
    array.copy_within(at..count, at + 1);
    array[at] = item;
}

pub(super) fn remove_at<T: Copy>(array: &mut [T], count: usize, at: usize) {
    array.copy_within(at + 1..count, at);
}

pub(super) fn append<T: Copy>(to: &mut [T], to_count: usize, from: &[T]) {
    to[to_count..to_count + from.len()].copy_from_slice(from);
}

impl Leaf {
    pub(super) const EMPTY: Self = Self {
        count: 0,
        keys: [0; LEAF],
        values: [0; LEAF],
    };

    #[inline]
    pub(super) fn keys(&self) -> &[u64] {
        &self.keys[..self.count]
    }

    #[inline]
    pub(super) fn values(&self) -> &[u64] {
        &self.values[..self.count]
    }

    pub(super) fn insert(&mut self, at: usize, key: u64, value: u64) {
        insert_at(&mut self.keys, self.count, at, key);
        insert_at(&mut self.values, self.count, at, value);
        self.count += 1;
    }

    pub(super) fn append(&mut self, other: &Self, from: usize) {
        append(&mut self.keys, self.count, &other.keys()[from..]);
        append(&mut self.values, self.count, &other.values()[from..]);
        self.count += other.count - from;
    }
}

impl Inner {
    pub(super) const EMPTY: Self = Self {
        count: 0,
        keys: [0; INNER],
        largest: [0; INNER],
        children: [0; INNER],
    };

    #[inline]
    pub(super) fn keys(&self) -> &[u64] {
        &self.keys[..self.count]
    }

    /// The child below which `key` lies, or the first where it lies before all.
    #[inline]
    pub(super) fn child_for(&self, key: u64) -> usize {
        self.keys()
            .partition_point(|&first| first <= key)
            .saturating_sub(1)
    }

    /// Notes what child `at` looks like now; false when that was known.
    pub(super) fn update(&mut self, at: usize, child: Summary, leftmost: bool) -> bool {
        let first_changed = self.keys[at] != child.first;
        let changed = (first_changed && !leftmost) || self.largest[at] != child.largest;
        self.keys[at] = child.first;
        self.largest[at] = child.largest;
        changed
    }

    pub(super) fn insert(&mut self, at: usize, child: Summary) {
        insert_at(&mut self.keys, self.count, at, child.first);
        insert_at(&mut self.largest, self.count, at, child.largest);
        insert_at(&mut self.children, self.count, at, child.node);
        self.count += 1;
    }

    pub(super) fn remove(&mut self, at: usize) {
        remove_at(&mut self.keys, self.count, at);
        remove_at(&mut self.largest, self.count, at);
        remove_at(&mut self.children, self.count, at);
        self.count -= 1;
    }

    pub(super) fn append(&mut self, other: &Self, from: usize) {
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
pub(super) struct Summary {
    pub(super) node: u32,
    pub(super) first: u64,
    pub(super) largest: u64,
}

/// Which value left a leaf and which came: enough to correct the largest values above it without looking at
/// every child again.
#[derive(Clone, Copy)]
pub(super) struct Exchange {
    pub(super) gone: u64,
    pub(super) new: u64,
}

impl Exchange {
    /// The largest value of a node where it was `known`; `None` when only looking can tell.
    #[inline]
    pub(super) fn largest(self, known: u64) -> Option<u64> {
        if self.new >= known {
            Some(self.new)
        } else if self.gone < known {
            Some(known)
        } else {
            None
        }
    }
}
