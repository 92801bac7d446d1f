//! Many runs: a tree of pieces, each uniform or a dense chunk.
//!
//! Rules that hold between operations:
//! 1. the pieces tile the map's range;
//! 2. a dense piece is exactly a 512-page aligned chunk, clipped to the range, and holds more than [`CALM`] breaks;
//! 3. neighbouring uniform pieces differ.
//!
//! From 2 and 3: a maximal run is at most the tail of a dense chunk, one uniform piece and the head of the next chunk,
//! so that a look-up is one walk of the tree and a scan of at most two chunks.

use super::chunk::{CHUNK_PAGES, Chunk};
use crate::tree::Tree;

/// A chunk becomes dense when more uniform pieces than this begin in it: a tree entry costs about as much as 16
/// to 24 bytes, so that the dense form is smaller only for lively chunks.
const LIVELY: usize = 16;
/// A dense chunk with no more breaks than this is dissolved. Well below [`LIVELY`], so that a page that
/// goes back and forth does not convert the chunk each time.
const CALM: u32 = 4;

/// Tree values below this are the byte of a uniform piece; others are a chunk's index plus this.
const DENSE: u64 = 256;

/// See the module text.
pub(super) struct Pieces {
    start: u64,
    end: u64,
    tree: Tree<false>,
    chunks: Vec<Option<Chunk>>,
    free: Vec<u32>,
}

fn chunk_start(page: u64) -> u64 {
    page & !(CHUNK_PAGES - 1)
}

impl Pieces {
    /// Runs in order, the first beginning at `start`.
    pub(super) fn from_runs(start: u64, end: u64, runs: &[(u64, u8)]) -> Self {
        let mut tree = Tree::new();
        for &(first, state) in runs {
            tree.insert(first, u64::from(state));
        }
        Self {
            start,
            end,
            tree,
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The runs, when they are so few that they need no tree.
    #[inline]
    pub(super) fn as_few(&self) -> Option<([(u64, u8); 2], usize)> {
        if self.tree.len() > 2 {
            return None;
        }
        let mut runs = [(0, 0); 2];
        let mut count = 0;
        let mut at = self.start;
        while let Some((first, value)) = self.tree.ceiling(at) {
            if value >= DENSE {
                return None;
            }
            runs[count] = (first, value as u8);
            count += 1;
            at = first + 1;
        }
        Some((runs, count))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.tree.heap_bytes()
            + self.chunks.capacity() * size_of::<Option<Chunk>>()
            + self
                .chunks
                .iter()
                .flatten()
                .map(Chunk::heap_bytes)
                .sum::<usize>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// The piece that holds `page`: its first page, its value, the page behind it.
    #[inline]
    fn piece(&self, page: u64) -> (u64, u64, u64) {
        match self.tree.floor_and_next(page) {
            Some(((first, value), next)) => (first, value, next.unwrap_or(self.end)),
            // Rule 1 makes this impossible; an empty answer would be worse than a plain reserved range.
            None => (self.start, 0, self.end),
        }
    }

    #[inline]
    fn chunk(&self, value: u64) -> Option<&Chunk> {
        self.chunks.get((value - DENSE) as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get(&self, page: u64) -> u8 {
        let (first, value, _) = self.piece(page);
        if value < DENSE {
            return value as u8;
        }
        self.chunk(value)
            .map_or(0, |chunk| chunk.get((page - first) as usize))
    }

    /// The byte of `page` and the end of its run, or `limit` where the run reaches it.
    pub(super) fn run(&self, page: u64, limit: u64) -> (u8, u64) {
        let (first, value, end) = self.piece(page);
        let (state, mut at) = self.run_in_piece(first, value, end, page, None);
        let mut piece_end = end;
        // Two more rounds at most, by the rules above.
        while at == piece_end && at < limit {
            let (first, value, end) = self.piece(at);
            at = self.run_in_piece(first, value, end, at, Some(state)).1;
            piece_end = end;
        }
        (state, at.min(limit))
    }

    /// The run of `state` (of the byte at `page` itself, if none is given) from `page` up, within one piece.
    #[inline]
    fn run_in_piece(
        &self,
        first: u64,
        value: u64,
        end: u64,
        page: u64,
        state: Option<u8>,
    ) -> (u8, u64) {
        if value < DENSE {
            let own = value as u8;
            let state = state.unwrap_or(own);
            return (state, if state == own { end } else { page });
        }
        let at = (page - first) as usize;
        match self.chunk(value) {
            Some(chunk) => {
                let state = state.unwrap_or_else(|| chunk.get(at));
                (state, first + chunk.run_end(at, state) as u64)
            }
            // Rule 2 makes this impossible.
            None => (state.unwrap_or(0), end),
        }
    }

    pub(super) fn set(&mut self, from: u64, to: u64, state: u8) {
        let (mut from, mut to) = (from, to);
        // The ends that lie inside dense chunks are set there; what is left begins and ends at piece
        // boundaries or inside uniform pieces.
        let (first, value, end) = self.piece(from);
        if value >= DENSE && (from > first || to < end) {
            let stop = to.min(end);
            self.set_in_chunk(first, value, from, stop, state);
            from = stop;
        }
        if from < to {
            let (first, value, end) = self.piece(to - 1);
            if value >= DENSE && to < end {
                self.set_in_chunk(first, value, first, to, state);
                to = first;
            }
        }
        if from < to {
            self.set_uniform(from, to, state);
            self.condense_if_lively(from);
            if to < self.end && chunk_start(to) != chunk_start(from) {
                self.condense_if_lively(to);
            }
        }
    }

    /// Sets pages of one dense chunk and dissolves it when it has become calm.
    fn set_in_chunk(&mut self, first: u64, value: u64, from: u64, to: u64, state: u8) {
        let slot = (value - DENSE) as usize;
        let Some(Some(chunk)) = self.chunks.get_mut(slot) else {
            return;
        };
        chunk.set((from - first) as usize, (to - first) as usize, state);
        if chunk.breaks() > CALM {
            return;
        }
        let Some(chunk) = self.chunks[slot].take() else {
            return;
        };
        self.free.push(slot as u32);
        self.tree.remove(first);
        let mut at = 0;
        while at < chunk.len() {
            let state = chunk.get(at);
            let end = chunk.run_end(at, state);
            self.tree.insert(first + at as u64, u64::from(state));
            at = end;
        }
        self.join(first);
        self.join(first + chunk.len() as u64);
    }

    /// Removes the boundary at `page` when the pieces on both sides are uniform and equal (rule 3).
    fn join(&mut self, page: u64) {
        if page <= self.start || page >= self.end {
            return;
        }
        let Some(value) = self.tree.get(page) else {
            return;
        };
        if value < DENSE && self.piece(page - 1).1 == value {
            self.tree.remove(page);
        }
    }

    /// Makes a boundary at `page`, which lies in a uniform piece or already begins a piece.
    fn cut(&mut self, page: u64) {
        let (first, value, _) = self.piece(page);
        if first < page && page < self.end {
            debug_assert!(value < DENSE, "dense chunks are never cut");
            self.tree.insert(page, value);
        }
    }

    /// Replaces whole pieces and parts of uniform pieces by one uniform piece.
    fn set_uniform(&mut self, from: u64, to: u64, state: u8) {
        let (first, value, end) = self.piece(from);
        if value == u64::from(state) && to <= end {
            return;
        }
        if to < self.end {
            self.cut(to);
        }
        // The piece at `from` is overwritten in place, the others up to `to` go.
        let mut at = if first < from { from } else { from + 1 };
        while let Some((key, value)) = self.tree.ceiling(at) {
            if key >= to {
                break;
            }
            self.tree.remove(key);
            self.drop_chunk(value);
            at = key + 1;
        }
        if first == from {
            self.drop_chunk(value);
        }
        self.tree.insert(from, u64::from(state));
        self.join(to);
        self.join(from);
    }

    fn drop_chunk(&mut self, value: u64) {
        if value >= DENSE {
            self.chunks[(value - DENSE) as usize] = None;
            self.free.push((value - DENSE) as u32);
        }
    }

    /// Turns the chunk around `page` into a dense one when many uniform pieces begin in it.
    fn condense_if_lively(&mut self, page: u64) {
        let low = chunk_start(page).max(self.start);
        let high = (chunk_start(page) + CHUNK_PAGES).min(self.end);
        if self.tree.count_between(low, high, LIVELY + 1) <= LIVELY {
            return;
        }
        let mut states = Vec::with_capacity((high - low) as usize);
        let mut at = low;
        while at < high {
            let (_, value, end) = self.piece(at);
            let end = end.min(high);
            states.resize((end - low) as usize, value as u8);
            at = end;
        }
        self.cut(high);
        while let Some((key, _)) = self.tree.ceiling(low) {
            if key >= high {
                break;
            }
            self.tree.remove(key);
        }
        let chunk = Some(Chunk::new(states));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.chunks[slot as usize] = chunk;
                slot as usize
            }
            None => {
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        };
        self.tree.insert(low, DENSE + slot as u64);
    }
}
