//! Switching features off by a setting, so that every fallback can be tried on every kernel.

use super::Feature;

/// The environment variable with the names of features to do without.
pub const VARIABLE: &str = "PAGEKEEPER_DISABLE";

/// A name in [`VARIABLE`] that no feature has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PAGEKEEPER_DISABLE knows no feature '{0}': see 'pagekeeper doctor' for their names")]
pub struct UnknownFeature(pub String);

/// The features to do without.
///
/// ```
/// use pagekeeper_sys::probe::{Feature, Switches};
/// let switches = "io_uring, guard".parse::<Switches>().unwrap();
/// assert!(switches.is_off(Feature::GuardFile), "part of guard");
/// assert!(!switches.is_off(Feature::Move));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Switches {
    off: u32,
}

impl Switches {
    /// Everything may be used.
    pub const fn all_on() -> Self {
        Self { off: 0 }
    }

    /// What [`VARIABLE`] says.
    ///
    /// # Errors
    /// A name that no feature has.
    pub fn from_environment() -> Result<Self, UnknownFeature> {
        match std::env::var_os(VARIABLE) {
            Some(text) => text.to_string_lossy().parse(),
            None => Ok(Self::all_on()),
        }
    }

    /// The same, without `feature` too.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self {
            off: self.off | 1 << feature as u8,
        }
    }

    /// Whether `feature`, or one that it is part of, is switched off.
    pub const fn is_off(self, feature: Feature) -> bool {
        let mut asked = Some(feature);
        while let Some(feature) = asked {
            if self.off & 1 << feature as u8 != 0 {
                return true;
            }
            asked = feature.part_of();
        }
        false
    }
}

impl core::str::FromStr for Switches {
    type Err = UnknownFeature;

    /// Names with commas between; blanks do not matter; an empty text switches nothing off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        names
            .into_iter()
            .try_fold(Self::all_on(), |switches, name| {
                let feature =
                    Feature::named(name).ok_or_else(|| UnknownFeature(name.to_owned()))?;
                Ok(switches.without(feature))
            })
    }
}
