//! Processes that use Pagekeeper: what each committed, has in RAM and in page files.

use comfy_table::Table;
use pagekeeper::monitor::{ProcessSummary, Processes, Source};
use serde::Serialize;

use crate::terminal::{self, size};

/// What a process that uses Pagekeeper committed, may commit, and keeps in page files, in bytes.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ProcessLine {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) commit_charge: u64,
    pub(super) commit_limit: u64,
    pub(super) commit_peak: u64,
    pub(super) ram_budget: u64,
    pub(super) working_set: u64,
    pub(super) page_file_used: u64,
    pub(super) page_file_allocated: u64,
    pub(super) page_file_maximum: u64,
}

impl ProcessLine {
    /// Whether it is the line of process `pid`.
    pub(super) const fn is(&self, pid: u32) -> bool {
        self.pid == pid
    }
}

/// Those that may be looked into. Without `/proc` there are none.
pub(super) fn lines(processes: &mut Processes) -> Vec<ProcessLine> {
    processes
        .refresh()
        .unwrap_or_default()
        .iter()
        .filter(|process| process.source == Source::Pagekeeper)
        .map(line_of)
        .collect()
}

fn line_of(process: &ProcessSummary) -> ProcessLine {
    let totals = &process.totals;
    ProcessLine {
        pid: process.pid,
        name: process.name.clone(),
        commit_charge: totals.commit_charge_bytes,
        commit_limit: totals.commit_limit_bytes,
        commit_peak: totals.commit_peak_bytes,
        ram_budget: totals.budget_bytes,
        working_set: totals.working_set_bytes,
        page_file_used: totals.page_file_bytes,
        page_file_allocated: totals.page_file_allocated_bytes,
        page_file_maximum: totals.page_file_maximum_bytes,
    }
}

/// Them as a table.
pub(super) fn table(processes: &[ProcessLine]) -> Table {
    let mut table = terminal::table();
    table.set_header([
        "process",
        "committed (peak) of limit",
        "working set (budget)",
        "page file used (allocated)",
    ]);
    for process in processes {
        table.add_row([
            format!("{} {}", process.pid, terminal::clean(&process.name)),
            format!(
                "{} ({}) of {}",
                size(process.commit_charge),
                size(process.commit_peak),
                size(process.commit_limit)
            ),
            format!(
                "{} ({})",
                size(process.working_set),
                size(process.ram_budget)
            ),
            format!(
                "{} ({} of {})",
                size(process.page_file_used),
                size(process.page_file_allocated),
                size(process.page_file_maximum)
            ),
        ]);
    }
    table
}
