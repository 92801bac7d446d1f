//! Pages and random numbers for the tests of this crate.

use pagekeeper_units::PAGE_SIZE;

use crate::codec::Page;

/// What a page looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texture {
    /// One word over and over.
    Same,
    /// A few words among zeros.
    Sparse,
    /// Records of pointers, counters and short strings, as a program's heap has.
    Records,
    /// Words of a small vocabulary.
    Text,
    /// A quarter random, the rest zero.
    Quarter,
    /// Nothing to gain.
    Random,
}

impl Texture {
    /// Every texture.
    pub(crate) const ALL: [Self; 6] = [
        Self::Same,
        Self::Sparse,
        Self::Records,
        Self::Text,
        Self::Quarter,
        Self::Random,
    ];
}

/// A small generator (SplitMix64) whose seed can be given.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by `PAGEKEEPER_SEED` or by the clock; prints the seed.
    pub(crate) fn from_env() -> Self {
        let seed = std::env::var("PAGEKEEPER_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                std::time::UNIX_EPOCH
                    .elapsed()
                    .map_or(1, |since| since.as_nanos() as u64)
            });
        println!("seed: PAGEKEEPER_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn page(&mut self, texture: Texture) -> Page {
        let mut page = [0; PAGE_SIZE];
        match texture {
            Texture::Same => crate::codec::fill(&mut page, self.next()),
            Texture::Sparse => {
                for _ in 0..8 {
                    page[self.below(PAGE_SIZE as u64) as usize] = self.next() as u8;
                }
            }
            Texture::Records => {
                for record in page.as_chunks_mut::<64>().0 {
                    record[..8]
                        .copy_from_slice(&(0x7F00_0000_0000 + self.below(1 << 24)).to_le_bytes());
                    record[8..16].copy_from_slice(&self.below(1000).to_le_bytes());
                    record[24..28].copy_from_slice(&(self.next() as u32).to_le_bytes());
                    record[32..38].copy_from_slice(b"name: ");
                    record[38] = b'a' + self.below(26) as u8;
                }
            }
            Texture::Text => {
                const WORDS: [&[u8]; 12] = [
                    b"page ",
                    b"fault ",
                    b"commit ",
                    b"the ",
                    b"of ",
                    b"a ",
                    b"reserve ",
                    b"working set ",
                    b"standby\n",
                    b"is written ",
                    b"memory ",
                    b"42, ",
                ];
                let mut at = 0;
                while at < PAGE_SIZE {
                    let word = WORDS[self.below(12) as usize];
                    let length = word.len().min(PAGE_SIZE - at);
                    page[at..at + length].copy_from_slice(&word[..length]);
                    at += length;
                }
            }
            Texture::Quarter => self.random_bytes(&mut page[..PAGE_SIZE / 4]),
            Texture::Random => self.random_bytes(&mut page),
        }
        page
    }

    fn random_bytes(&mut self, bytes: &mut [u8]) {
        for word in bytes.as_chunks_mut::<8>().0 {
            *word = self.next().to_ne_bytes();
        }
    }
}
