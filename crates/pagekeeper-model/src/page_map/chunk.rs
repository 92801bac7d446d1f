//! A 2 MiB chunk that holds many runs: one byte a page.

/// Pages in a whole chunk; chunks are aligned to it.
pub(super) const CHUNK_PAGES: u64 = 512;

/// The bytes of one chunk. A chunk at the edge of its map is as short as the map is there.
pub(super) struct Chunk {
    states: Box<[u8]>,
    /// How many pages differ from the page before them.
    breaks: u32,
}

impl Chunk {
    pub(super) fn new(states: Vec<u8>) -> Self {
        let breaks = count_breaks(&states);
        Self {
            states: states.into_boxed_slice(),
            breaks,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    #[inline]
    pub(super) fn breaks(&self) -> u32 {
        self.breaks
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> u8 {
        self.states[at]
    }

    /// Gives `from..to` one byte.
    pub(super) fn set(&mut self, from: usize, to: usize, state: u8) {
        // Only the breaks within and at both edges of the stretch can change.
        let low = from.saturating_sub(1);
        let high = (to + 1).min(self.states.len());
        let before = count_breaks(&self.states[low..high]);
        self.states[from..to].fill(state);
        let after = count_breaks(&self.states[low..high]);
        self.breaks = self.breaks - before + after;
    }

    /// Where the run of `state` that begins at `from` ends: the first other byte, or the chunk's length.
    #[inline]
    pub(super) fn run_end(&self, from: usize, state: u8) -> usize {
        let rest = &self.states[from..];
        let pattern = u64::from_ne_bytes([state; 8]);
        let mut at = 0;
        for word in rest.chunks_exact(8) {
            let word = u64::from_le_bytes([
                word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
            ]);
            let difference = word ^ pattern;
            if difference != 0 {
                return from + at + (difference.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        let tail = rest[at..].iter().position(|&byte| byte != state);
        tail.map_or(self.states.len(), |offset| from + at + offset)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.states.len()
    }
}

fn count_breaks(states: &[u8]) -> u32 {
    states.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32
}
