//! Random numbers: fast enough not to be what is measured, and the same for every contender.

/// A generator of 64-bit numbers (xorshift with a multiplication behind it).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed) | 1)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`, each as likely as any other up to one part in 2^64.
    #[inline]
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from 0 up to 1, without 1.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Scatters a number over 64 bits; no two numbers have the same image.
#[inline]
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The seed of a test: `PAGEKEEPER_SEED`, or one of the moment; printed.
#[cfg(test)]
pub(crate) fn test_seed() -> u64 {
    let seed = std::env::var("PAGEKEEPER_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("PAGEKEEPER_SEED={seed}");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_limit_are_spread_evenly() {
        let mut random = Random::new(test_seed());
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[random.below(10) as usize] += 1;
        }
        // Ten standard deviations.
        assert!(
            counts.iter().all(|&count| count.abs_diff(10_000) < 950),
            "{counts:?}"
        );
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn units_stay_below_one() {
        let mut random = Random::new(test_seed());
        let sum: f64 = (0..10_000)
            .map(|_| random.unit())
            .inspect(|unit| assert!((0.0..1.0).contains(unit)))
            .sum();
        assert!((4_700.0..5_300.0).contains(&sum), "{sum}");
    }
}
