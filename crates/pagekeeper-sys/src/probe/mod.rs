//! What this kernel lets this process do: found out by doing, once.
//!
//! The floors above choose between twin implementations by asking [`Features`]; nothing tests for a
//! feature in the middle of its work. Every feature can be switched off ([`Switches`]), so that
//! every fallback runs on every kernel.

mod doing;
mod feature;
mod switches;

use std::path::Path;
use std::sync::OnceLock;

pub use feature::Feature;
pub use switches::{Switches, UnknownFeature, VARIABLE};

use crate::Errno;

/// What was found out about one feature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Finding {
    /// It works.
    Found,
    /// It does not, for this reason. `EIO`: the kernel claims it, but it does not do what it should.
    Missing(Errno),
    /// It was switched off by a setting.
    SwitchedOff,
}

/// One line of a report about the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Which feature.
    pub feature: Feature,
    /// What was found out.
    pub finding: Finding,
}

impl Report {
    /// What its absence costs; `None` where it was found.
    pub fn cost(&self) -> Option<&'static str> {
        (self.finding != Finding::Found).then(|| self.feature.cost())
    }

    /// What would grant it; `None` where it was found.
    pub fn remedy(&self) -> Option<&'static str> {
        match self.finding {
            Finding::Found => None,
            Finding::Missing(errno) => Some(self.feature.remedy(errno)),
            Finding::SwitchedOff => Some("take its name out of PAGEKEEPER_DISABLE"),
        }
    }
}

/// What every feature was found to be.
///
/// ```
/// use pagekeeper_sys::probe::{Feature, Features};
/// let features = Features::get();
/// for line in features.reports() {
///     println!("{:26} {:?}", line.feature.name(), line.finding);
/// }
/// if features.has(Feature::Move) {
///     // take pages out by moving them
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Features {
    findings: [Finding; Feature::ALL.len()],
}

impl Features {
    /// The process's features with the switches of the environment, found out at the first call (some
    /// milliseconds). An unknown name in the environment switches nothing off: whoever starts up
    /// asks [`Switches::from_environment`] and reports it.
    ///
    /// Files for the probing are made in the temporary folder.
    pub fn get() -> &'static Self {
        static FOUND: OnceLock<Features> = OnceLock::new();
        FOUND.get_or_init(|| {
            let switches = Switches::from_environment().unwrap_or_default();
            Self::probe(switches, &std::env::temp_dir())
        })
    }

    /// Finds everything out anew. Files are made in `folder`.
    pub fn probe(switches: Switches, folder: &Path) -> Self {
        let mut findings = [Finding::SwitchedOff; Feature::ALL.len()];
        for feature in Feature::ALL {
            if switches.is_off(feature) {
                continue;
            }
            let above = feature.part_of().map(|whole| findings[whole as usize]);
            findings[feature as usize] = match above {
                // Without the whole the part cannot be there, and for the same reason.
                Some(Finding::Missing(errno)) => Finding::Missing(errno),
                _ => match doing::try_out(feature, folder) {
                    Ok(()) => Finding::Found,
                    Err(errno) => Finding::Missing(errno),
                },
            };
        }
        Self { findings }
    }

    /// The same findings, with more switched off.
    #[must_use]
    pub fn with(mut self, switches: Switches) -> Self {
        for feature in Feature::ALL {
            if switches.is_off(feature) {
                self.findings[feature as usize] = Finding::SwitchedOff;
            }
        }
        self
    }

    /// Whether `feature` may be used.
    #[inline]
    pub fn has(&self, feature: Feature) -> bool {
        self.finding(feature) == Finding::Found
    }

    /// What was found out about `feature`.
    #[inline]
    pub fn finding(&self, feature: Feature) -> Finding {
        self.findings[feature as usize]
    }

    /// Everything, in the order of [`Feature::ALL`].
    pub fn reports(&self) -> impl Iterator<Item = Report> {
        Feature::ALL.into_iter().map(|feature| Report {
            feature,
            finding: self.finding(feature),
        })
    }
}

#[cfg(test)]
mod tests;
