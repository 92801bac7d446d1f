//! Byte sizes with the suffixes that people type.

use core::fmt;
use core::str::FromStr;

use crate::PageCount;

/// A number of bytes.
///
/// Parses `4096`, `64K`, `512M`, `2G`, `1T`, with `B`, `iB` or nothing behind the letter, in either
/// case; fractions such as `1.5G` are accepted when they come out as whole bytes. A letter always
/// means a power of 1,024, as Windows' own tools print it. Prints the largest unit that divides the
/// number, so that printing and parsing are inverse.
///
/// ```
/// use pagekeeper_units::ByteCount;
/// assert_eq!("512M".parse::<ByteCount>().unwrap().get(), 512 << 20);
/// assert_eq!("2GiB".parse::<ByteCount>().unwrap().to_string(), "2G");
/// assert!("-1".parse::<ByteCount>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteCount(u64);

/// Why a text is not a size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseByteCountError {
    /// No digits.
    #[error("a size such as 512M or 2G is wanted, not an empty text")]
    Empty,
    /// A minus sign.
    #[error("a size cannot be negative: '{0}'")]
    Negative(String),
    /// Something that is neither a number nor a known suffix.
    #[error("'{0}' is not a size: write a number with K, M, G or T behind it, such as 512M")]
    Malformed(String),
    /// More than 2^64 - 1 bytes.
    #[error("'{0}' is larger than any address space")]
    TooLarge(String),
}

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// That many bytes.
    #[inline]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// That many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// That many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// That many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// That many TiB.
    pub const fn tib(count: u64) -> Self {
        Self(count << 40)
    }

    /// The bare number of bytes.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a length in memory.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// The pages that hold it (rounds up).
    #[inline]
    pub const fn pages(self) -> PageCount {
        PageCount::holding(self.0)
    }

    /// For people: three significant figures and a unit, such as `1.46 GiB`.
    pub fn human(self) -> String {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return format!("{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let decimals = if value < 9.995 {
            2
        } else if value < 99.95 {
            1
        } else {
            0
        };
        format!("{value:.decimals$} {}", UNITS[unit])
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        for (shift, letter) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{letter}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} bytes")
    }
}

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(ParseByteCountError::Empty);
        }
        if trimmed.starts_with('-') {
            return Err(ParseByteCountError::Negative(trimmed.to_owned()));
        }
        let malformed = || ParseByteCountError::Malformed(trimmed.to_owned());
        let too_large = || ParseByteCountError::TooLarge(trimmed.to_owned());
        let digits_end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, suffix) = trimmed.split_at(digits_end);
        let shift = match suffix.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            "p" | "pb" | "pib" => 50,
            _ => return Err(malformed()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || number.matches('.').count() > 1 {
            return Err(malformed());
        }
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let mut bytes = u128::from(whole) << shift;
        if !fraction.is_empty() {
            let scale = 10u128
                .checked_pow(fraction.len() as u32)
                .ok_or_else(malformed)?;
            let value: u128 = fraction.parse().map_err(|_| malformed())?;
            let scaled = value.checked_shl(shift).ok_or_else(malformed)?;
            if scaled % scale != 0 {
                return Err(malformed());
            }
            bytes += scaled / scale;
        } else if number.ends_with('.') {
            return Err(malformed());
        }
        u64::try_from(bytes).map(Self).map_err(|_| too_large())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_mean_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64k", 64 << 10),
            ("512M", 512 << 20),
            ("512 MiB", 512 << 20),
            ("2GiB", 2 << 30),
            ("1.5G", 3 << 29),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse::<ByteCount>().unwrap().get(), bytes, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        use ParseByteCountError as E;
        assert_eq!("".parse::<ByteCount>(), Err(E::Empty));
        assert_eq!("-5M".parse::<ByteCount>(), Err(E::Negative("-5M".into())));
        for text in ["M", "5X", "1.2.3G", "1.", ".5G", "five", "1.0001", "0x10"] {
            assert_eq!(
                text.parse::<ByteCount>(),
                Err(E::Malformed(text.into())),
                "{text}"
            );
        }
        for text in ["99999999999999999999", "17000000T"] {
            assert_eq!(
                text.parse::<ByteCount>(),
                Err(E::TooLarge(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn printing_and_parsing_are_inverse() {
        for bytes in [0, 1, 1023, 1024, 1536, 3 << 29, 1 << 40, u64::MAX] {
            let size = ByteCount::new(bytes);
            assert_eq!(size.to_string().parse::<ByteCount>().unwrap(), size);
        }
    }

    #[test]
    fn people_see_three_figures() {
        assert_eq!(ByteCount::new(1000).human(), "1000 B");
        assert_eq!(ByteCount::mib(1500).human(), "1.46 GiB");
        assert_eq!(ByteCount::mib(256).human(), "256 MiB");
    }
}
