//! The checksum of a page: 48 bits of keyed xxh3.
//!
//! It is kept in RAM, one per slot of the page file, never beside the data. So a disk that returns
//! other bytes, old bytes or another slot's bytes is noticed; and a page that comes to be evicted
//! again is compared with what its slot holds without reading it.
//!
//! The key is drawn at random once per process life and never stored, so that nobody can prepare
//! two pages of equal checksum. Chance finds a pair with probability 2^-48 per comparison.

use core::num::NonZeroU64;
use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::{SecretInput, xxh3_64_with_secret_input};

use crate::codec::Page;

const SECRET_LEN: usize = 192;
const MASK: u64 = (1 << 48) - 1;

/// The checksum of a page's bytes: 48 bits, never zero (zero in a table means "none").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(NonZeroU64);

impl Checksum {
    const fn from_hash(hash: u64) -> Self {
        match NonZeroU64::new(hash & MASK) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The 48 bits.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The checksum with those 48 bits, as [`Checksum::get`] gave them; `None` for zero or more
    /// bits.
    #[inline]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits > MASK {
            return None;
        }
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    #[inline]
    pub(crate) const fn low(self) -> u32 {
        self.get() as u32
    }

    #[inline]
    pub(crate) const fn high(self) -> u16 {
        (self.get() >> 32) as u16
    }

    #[inline]
    pub(crate) const fn from_parts(low: u32, high: u16) -> Option<Self> {
        Self::from_bits(low as u64 | (high as u64) << 32)
    }
}

/// The secret key of this process life.
pub struct ChecksumKey {
    secret: SecretInput<[u8; SECRET_LEN]>,
}

impl ChecksumKey {
    /// A key from the system's randomness.
    pub fn random() -> Self {
        // RandomState is seeded by the kernel once per thread; SipHash under that seed is a
        // pseudo-random function, so its values over a counter are key material.
        let state = RandomState::new();
        let mut secret = [0; SECRET_LEN];
        for (counter, word) in secret.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut hasher = state.build_hasher();
            hasher.write_usize(counter);
            *word = hasher.finish().to_ne_bytes();
        }
        Self {
            secret: SecretInput::new(secret),
        }
    }

    /// The checksum of a page. For the fault path: no allocation, no panic; about 0.25 µs.
    #[inline]
    pub fn checksum(&self, page: &Page) -> Checksum {
        Checksum::from_hash(xxh3_64_with_secret_input(page, &self.secret))
    }
}

impl core::fmt::Debug for ChecksumKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChecksumKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, Texture};
    use pagekeeper_units::PAGE_SIZE;

    #[test]
    fn a_checksum_is_never_zero_and_splits_into_its_parts() {
        assert_eq!(Checksum::from_hash(0).get(), 1);
        assert_eq!(Checksum::from_hash(0xFFFF << 48).get(), 1);
        let sum = Checksum::from_hash(0x1234_5678_9ABC_DEF0);
        assert_eq!(sum.get(), 0x5678_9ABC_DEF0);
        assert_eq!(Checksum::from_parts(sum.low(), sum.high()), Some(sum));
        assert_eq!(Checksum::from_parts(0, 0), None);
        assert_eq!(Checksum::from_bits(1 << 48), None);
    }

    #[test]
    fn every_single_flipped_bit_is_noticed() {
        let key = ChecksumKey::random();
        let mut page = Rng::from_env().page(Texture::Text);
        let sum = key.checksum(&page);
        for bit in 0..PAGE_SIZE * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(key.checksum(&page), sum, "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(key.checksum(&page), sum);
    }

    #[test]
    fn two_keys_disagree() {
        let page = [0; PAGE_SIZE];
        assert_ne!(
            ChecksumKey::random().checksum(&page),
            ChecksumKey::random().checksum(&page)
        );
    }

    #[test]
    fn the_checksums_of_many_pages_differ() {
        let key = ChecksumKey::random();
        let mut page = [0; PAGE_SIZE];
        let mut seen = std::collections::HashSet::new();
        for number in 0..100_000u64 {
            page[..8].copy_from_slice(&number.to_le_bytes());
            assert!(seen.insert(key.checksum(&page)), "page {number}");
        }
    }
}
