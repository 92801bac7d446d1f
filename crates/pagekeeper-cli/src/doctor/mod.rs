//! `pagekeeper doctor`: what works here, what does not, what that costs, and what would grant it.
//!
//! | module | what |
//! |---|---|
//! | [`engines`] | each engine pages some memory out and in again |
//! | [`features`] | each kernel feature, found out by doing |
//! | [`limits`] | limits of the process and settings of the machine that bite |
//! | [`place`] | where the page file goes |
//!
//! Nothing is concluded from version numbers: everything is tried on memory and files of its own.

mod engines;
mod features;
mod limits;
mod place;

use comfy_table::Cell;
use serde::Serialize;

use crate::arguments::ReportOptions;
use crate::failure::Failure;
use crate::terminal;

/// How good or bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Works, slower or with less reach.
    Note,
    /// Something that is asked for may fail.
    Warning,
    /// Pagekeeper cannot do its work here.
    Missing,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warn",
            Self::Missing => "MISSING",
        }
    }
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) name: String,
    /// How good or bad it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What it costs, when it is not as it should be.
    pub(super) cost: Option<String>,
    /// The command or setting that would grant it.
    pub(super) remedy: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub(super) fn ok(name: &str, found: impl Into<String>) -> Self {
        let (name, found) = (name.to_owned(), found.into());
        Self {
            name,
            verdict: Verdict::Ok,
            found,
            cost: None,
            remedy: None,
        }
    }

    /// Something that is not.
    pub(super) fn bad(
        verdict: Verdict,
        name: &str,
        found: impl Into<String>,
        cost: &str,
        remedy: &str,
    ) -> Self {
        Self {
            name: name.to_owned(),
            verdict,
            found: found.into(),
            cost: Some(cost.to_owned()),
            remedy: Some(remedy.to_owned()),
        }
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
struct Report {
    /// Nothing essential is missing.
    healthy: bool,
    kernel: String,
    engines: Vec<Finding>,
    page_file: Vec<Finding>,
    limits: Vec<Finding>,
    features: Vec<Finding>,
}

impl Report {
    fn gather() -> Self {
        let engines = engines::look();
        let page_file = place::look();
        let limits = limits::look();
        let features = features::look();
        let healthy = [&engines, &page_file, &limits]
            .into_iter()
            .flatten()
            .all(|finding| finding.verdict != Verdict::Missing);
        let kernel = pagekeeper_sys::memory_info::KernelSettings::read().release;
        Self {
            healthy,
            kernel,
            engines,
            page_file,
            limits,
            features,
        }
    }

    fn print(&self) {
        let mut text = format!("Linux {}\n", self.kernel);
        for (title, findings) in [
            ("engines", &self.engines),
            ("page file", &self.page_file),
            ("limits and settings", &self.limits),
            ("kernel features", &self.features),
        ] {
            let mut table = terminal::table();
            table.set_header([Cell::new(""), Cell::new(title), Cell::new("found")]);
            for finding in findings {
                table.add_row([finding.verdict.word(), &finding.name, &described(finding)]);
            }
            text += "\n";
            text += &terminal::trimmed(&table.to_string());
        }
        text += if self.healthy {
            "\neverything that Pagekeeper needs works here\n"
        } else {
            "\nsomething that Pagekeeper needs is missing: see MISSING above\n"
        };
        terminal::print(&text);
    }
}

fn described(finding: &Finding) -> String {
    let mut text = finding.found.clone();
    if let Some(cost) = &finding.cost {
        text += &format!("\ncosts: {cost}");
    }
    if let Some(remedy) = &finding.remedy {
        text += &format!("\nto change it: {remedy}");
    }
    text
}

/// Looks at everything and prints it.
pub(crate) fn run(options: &ReportOptions) -> Result<(), Failure> {
    let report = Report::gather();
    if options.json {
        terminal::print_json(&report);
    } else {
        report.print();
    }
    if report.healthy {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}
