//! Everything that was measured, and how it is found again for the tables.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::contender::ContenderKind;
use crate::machine::Machine;
use crate::statistics::Summary;

/// What one series of repeated measurements is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    /// Such as `paging/compressible`, `fits`, `metadata`.
    family: String,
    /// Such as `uniform/read/2`.
    cell: String,
    contender: ContenderKind,
    /// With its unit, such as `operations/s`.
    metric: String,
}

/// Somebody who could not take part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) family: String,
    pub(crate) contender: ContenderKind,
    pub(crate) reason: String,
    /// Whether it started and failed; otherwise it was not possible here.
    pub(crate) failed: bool,
    /// How many turns went like that.
    pub(crate) turns: u32,
}

/// How the run was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Asked {
    pub(crate) command: String,
    pub(crate) quick: bool,
    pub(crate) ram_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) repeat: u32,
    /// Fill, scan, uniform and data that fits.
    pub(crate) repeat_uniform: u32,
    /// How many times smaller lz4 makes a page, compressible and incompressible.
    pub(crate) lz4_ratios: [f64; 2],
    pub(crate) fitting_bytes: u64,
    /// Memory touched before the first turn.
    pub(crate) warmed_bytes: u64,
    pub(crate) commits: u64,
    /// The budget of the metadata measurements.
    pub(crate) metadata_ram_bytes: u64,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) asked: Asked,
    pub(crate) machine: Machine,
    /// Load average at the end.
    pub(crate) load_at_end: String,
    pub(crate) skipped: Vec<Skipped>,
    /// Where contents were not what had been written. Must be empty.
    pub(crate) differences: Vec<String>,
    measurements: Measurements,
}

impl Results {
    pub(crate) fn new(asked: Asked, machine: Machine) -> Self {
        Self {
            asked,
            machine,
            load_at_end: String::new(),
            skipped: Vec::new(),
            differences: Vec::new(),
            measurements: Measurements::default(),
        }
    }

    /// Adds one measurement to its series.
    pub(crate) fn add(
        &mut self,
        family: &str,
        cell: &str,
        contender: ContenderKind,
        metric: &str,
        value: f64,
    ) {
        let key = Key {
            family: family.to_owned(),
            cell: cell.to_owned(),
            contender,
            metric: metric.to_owned(),
        };
        self.measurements.0.entry(key).or_default().push(value);
    }

    /// A series, if there is one.
    pub(crate) fn find(
        &self,
        family: &str,
        cell: &str,
        contender: ContenderKind,
        metric: &str,
    ) -> Option<Summary> {
        let key = Key {
            family: family.to_owned(),
            cell: cell.to_owned(),
            contender,
            metric: metric.to_owned(),
        };
        Summary::of(self.measurements.0.get(&key)?)
    }

    /// Notes who could not take part or failed; the first reason is kept, the turns are counted. Returns their number.
    pub(crate) fn skip(
        &mut self,
        family: &str,
        contender: ContenderKind,
        reason: String,
        failed: bool,
    ) -> u32 {
        let known = |old: &&mut Skipped| old.family == family && old.contender == contender;
        if let Some(old) = self.skipped.iter_mut().find(known) {
            old.turns += 1;
            return old.turns;
        }
        let family = family.to_owned();
        self.skipped.push(Skipped {
            family,
            contender,
            reason,
            failed,
            turns: 1,
        });
        1
    }

    /// Whether something of ours failed, or contents were wrong anywhere. (A kernel that kills a process in a tight
    /// control group is a result.)
    pub(crate) fn is_failure(&self) -> bool {
        let ours = |one: &Skipped| one.failed && one.contender.engine().is_some();
        !self.differences.is_empty() || self.skipped.iter().any(ours)
    }

    /// Whether anything was measured in a family.
    pub(crate) fn has(&self, family: &str) -> bool {
        self.measurements.0.keys().any(|key| key.family == family)
            || self.skipped.iter().any(|skipped| skipped.family == family)
    }
}

/// All series.
#[derive(Debug, Default)]
struct Measurements(BTreeMap<Key, Vec<f64>>);

impl Serialize for Measurements {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            family: &'a str,
            cell: &'a str,
            contender: ContenderKind,
            metric: &'a str,
            median: f64,
            least: f64,
            most: f64,
            values: &'a [f64],
        }
        to.collect_seq(self.0.iter().filter_map(|(key, values)| {
            let summary = Summary::of(values)?;
            Some(Line {
                family: &key.family,
                cell: &key.cell,
                contender: key.contender,
                metric: &key.metric,
                median: summary.median,
                least: summary.least,
                most: summary.most,
                values,
            })
        }))
    }
}

/// Results without a single measurement, for tests.
#[cfg(test)]
pub(crate) fn empty() -> Results {
    let asked = Asked {
        command: "cargo run".to_owned(),
        quick: true,
        ram_bytes: 16 << 20,
        data_bytes: 64 << 20,
        seconds: 0.2,
        repeat: 3,
        repeat_uniform: 3,
        lz4_ratios: [5.0, 1.0],
        fitting_bytes: 32 << 20,
        warmed_bytes: 0,
        commits: 1_000,
        metadata_ram_bytes: 16 << 20,
    };
    Results::new(asked, Machine::look(std::path::Path::new("/var/tmp")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_again() {
        let mut results = empty();
        for value in [3.0, 1.0, 2.0] {
            results.add("fits", "read", ContenderKind::Inline, "ns", value);
        }
        let found = results
            .find("fits", "read", ContenderKind::Inline, "ns")
            .unwrap();
        assert_eq!((found.median, found.count), (2.0, 3));
        assert_eq!(
            results.find("fits", "read", ContenderKind::Mapped, "ns"),
            None
        );
        assert!(results.has("fits") && !results.has("metadata"));
        let json = serde_json::to_value(&results).unwrap();
        assert_eq!(
            json["measurements"][0]["values"],
            serde_json::json!([3.0, 1.0, 2.0])
        );
        assert_eq!(json["measurements"][0]["contender"], "inline");
    }

    #[test]
    fn a_reason_is_noted_once_and_turns_are_counted() {
        let mut results = empty();
        for reason in ["first", "second"] {
            results.skip("fits", ContenderKind::Mapped, reason.to_owned(), true);
        }
        assert_eq!(results.skipped.len(), 1);
        assert_eq!(
            (results.skipped[0].reason.as_str(), results.skipped[0].turns),
            ("first", 2)
        );
        assert!(results.has("fits") && results.is_failure());
        let mut kernel = empty();
        kernel.skip("fits", ContenderKind::SwapZram, "killed".to_owned(), true);
        assert!(!kernel.is_failure());
    }
}
