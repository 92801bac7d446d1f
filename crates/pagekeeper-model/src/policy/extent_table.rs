//! The memory of an [`crate::policy::ExtentQueue`]: nodes in linked lists, found by extent number.
//!
//! Lists rather than rings, so that an extent can leave from the middle and no dead entries pile up. The index is open
//! addressing with linear probing at no more than half load, with deletion by shifting back: no tombstones.

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// Which list a node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum List {
    /// Not in use.
    Free,
    /// In RAM, came in for the first time.
    Probation,
    /// In RAM, proved worth keeping.
    Main,
    /// Left RAM not long ago; only the number is remembered.
    Ghost,
}

#[derive(Clone, Copy)]
pub(super) struct Node {
    pub(super) extent: u32,
    older: u32,
    newer: u32,
    pub(super) list: List,
    /// Seen in use since it was last passed over.
    pub(super) referenced: bool,
    /// Of a ghost: it left from the main list.
    pub(super) from_main: bool,
}

const UNUSED: Node = Node {
    extent: 0,
    older: NONE,
    newer: NONE,
    list: List::Free,
    referenced: false,
    from_main: false,
};

#[derive(Clone, Copy)]
struct Ends {
    oldest: u32,
    newest: u32,
    count: usize,
}

const EMPTY: Ends = Ends {
    oldest: NONE,
    newest: NONE,
    count: 0,
};

/// Memory for a queue of a given capacity. Made where allocating is allowed, handed to
/// [`crate::policy::ExtentQueue::grow`] under the lock.
pub struct ExtentStorage {
    nodes: Box<[Node]>,
    /// Node numbers, or [`NONE`]; the length is a power of two.
    index: Box<[u32]>,
    lists: [Ends; 4],
    capacity: usize,
}

impl ExtentStorage {
    /// Memory for `capacity` extents in RAM and as many remembered ones; about 48 bytes an extent.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 1 << 29);
        let nodes = vec![UNUSED; capacity * 2].into_boxed_slice();
        let index = vec![NONE; (capacity * 4).next_power_of_two()].into_boxed_slice();
        let mut storage = Self {
            nodes,
            index,
            lists: [EMPTY; 4],
            capacity,
        };
        for node in 0..storage.nodes.len() as u32 {
            storage.push_newest(node, List::Free);
        }
        storage
    }

    /// Extents in RAM that fit.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Heap memory in bytes.
    pub const fn heap_bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + self.index.len() * size_of::<u32>()
    }

    #[inline]
    pub(super) fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    #[inline]
    pub(super) fn node_mut(&mut self, node: u32) -> Option<&mut Node> {
        self.nodes.get_mut(node as usize)
    }

    pub(super) fn count(&self, list: List) -> usize {
        self.lists[list as usize].count
    }

    pub(super) fn oldest(&self, list: List) -> Option<u32> {
        let node = self.lists[list as usize].oldest;
        (node != NONE).then_some(node)
    }

    /// The node that entered the same list after `node`.
    pub(super) fn newer(&self, node: u32) -> Option<u32> {
        let newer = self.node(node)?.newer;
        (newer != NONE).then_some(newer)
    }

    fn unlink(&mut self, node: u32) {
        let Some(&Node {
            older, newer, list, ..
        }) = self.node(node)
        else {
            return;
        };
        match self.node_mut(older) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.lists[list as usize].oldest = newer,
        }
        match self.node_mut(newer) {
            Some(neighbour) => neighbour.older = older,
            None => self.lists[list as usize].newest = older,
        }
        self.lists[list as usize].count -= 1;
    }

    fn push_newest(&mut self, node: u32, list: List) {
        let older = self.lists[list as usize].newest;
        if let Some(place) = self.node_mut(node) {
            place.older = older;
            place.newer = NONE;
            place.list = list;
        }
        match self.node_mut(older) {
            Some(neighbour) => neighbour.newer = node,
            None => self.lists[list as usize].oldest = node,
        }
        self.lists[list as usize].newest = node;
        self.lists[list as usize].count += 1;
    }

    /// Moves a node to the newest end of a list.
    pub(super) fn move_to(&mut self, node: u32, list: List) {
        self.unlink(node);
        self.push_newest(node, list);
    }

    #[inline]
    fn home(&self, extent: u32) -> usize {
        // Neighbouring extents are the rule; the multiplication scatters them.
        let hash = u64::from(extent).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> 32) as usize & (self.index.len() - 1)
    }

    #[inline]
    fn entry(&self, place: usize) -> u32 {
        self.index.get(place).copied().unwrap_or(NONE)
    }

    /// Where the node of `extent` stands in the index, or the empty place where it would.
    fn place(&self, extent: u32) -> usize {
        let mask = self.index.len() - 1;
        let mut place = self.home(extent);
        for _ in 0..=mask {
            match self.node(self.entry(place)) {
                Some(node) if node.extent != extent => place = (place + 1) & mask,
                _ => break,
            }
        }
        place
    }

    #[inline]
    pub(super) fn find(&self, extent: u32) -> Option<u32> {
        let node = self.entry(self.place(extent));
        (node != NONE).then_some(node)
    }

    /// Takes a free node for `extent`, which has none, and puts it into `list`.
    pub(super) fn insert(&mut self, extent: u32, list: List) -> Option<u32> {
        let node = self.oldest(List::Free)?;
        self.unlink(node);
        if let Some(place) = self.node_mut(node) {
            *place = Node { extent, ..UNUSED };
        }
        self.push_newest(node, list);
        let place = self.place(extent);
        if let Some(entry) = self.index.get_mut(place) {
            *entry = node;
        }
        Some(node)
    }

    /// Forgets a node altogether.
    pub(super) fn forget(&mut self, node: u32) {
        let Some(&Node { extent, .. }) = self.node(node) else {
            return;
        };
        let mask = self.index.len() - 1;
        let mut hole = self.place(extent);
        let mut place = hole;
        for _ in 0..=mask {
            place = (place + 1) & mask;
            let Some(follower) = self.node(self.entry(place)) else {
                break;
            };
            // It may fill the hole unless its home lies behind the hole.
            let home = self.home(follower.extent);
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                let entry = self.entry(place);
                if let Some(target) = self.index.get_mut(hole) {
                    *target = entry;
                }
                hole = place;
            }
        }
        if let Some(target) = self.index.get_mut(hole) {
            *target = NONE;
        }
        self.move_to(node, List::Free);
    }
}
