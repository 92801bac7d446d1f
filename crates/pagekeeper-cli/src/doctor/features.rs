//! Kernel features, each tried on memory and files of its own. None is essential: every one has a fallback.

use std::path::{Path, PathBuf};

use pagekeeper_sys::probe::{Features, Finding as Probed, Report, Switches};

use super::{Finding, Verdict};

/// Files are tried where the page file goes: the same kernel does less on some file systems.
pub(super) fn look() -> Vec<Finding> {
    let place = super::place::places().and_then(|places| places.into_iter().next());
    let folder = place.map_or_else(std::env::temp_dir, folder_of);
    // Unknown names were refused at the start.
    let switches = Switches::from_environment().unwrap_or_default();
    Features::probe(switches, &folder)
        .reports()
        .map(|report| describe(&report))
        .collect()
}

fn folder_of(place: PathBuf) -> PathBuf {
    match place.parent() {
        Some(parent) if !place.is_dir() && parent != Path::new("") => parent.to_owned(),
        _ => place,
    }
}

fn describe(report: &Report) -> Finding {
    let feature = report.feature;
    let name = feature.name();
    let found = match report.finding {
        Probed::Found => return Finding::ok(name, feature.purpose()),
        Probed::Missing(errno) => format!("no: {errno} (since Linux {})", feature.since()),
        Probed::SwitchedOff => "switched off by PAGEKEEPER_DISABLE".to_owned(),
    };
    let cost = report.cost().unwrap_or_default();
    let remedy = report.remedy().unwrap_or_default();
    Finding::bad(Verdict::Note, name, found, cost, remedy)
}

#[cfg(test)]
mod tests {
    use pagekeeper_sys::Errno;
    use pagekeeper_sys::probe::Feature;

    use super::*;

    #[test]
    fn what_is_missing_says_what_would_grant_it() {
        let report = Report {
            feature: Feature::IoUring,
            finding: Probed::Missing(Errno::PERM),
        };
        let finding = describe(&report);
        assert_eq!(finding.verdict, Verdict::Note);
        assert!(finding.cost.is_some_and(|cost| !cost.is_empty()));
        assert!(
            finding
                .remedy
                .is_some_and(|remedy| remedy.contains("io_uring_disabled"))
        );
        let report = Report {
            feature: Feature::Move,
            finding: Probed::Found,
        };
        assert_eq!(describe(&report).verdict, Verdict::Ok);
    }
}
