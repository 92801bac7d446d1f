//! Figures for Prometheus, in its text format (version 0.0.4).

use std::fmt::Write as _;

use pagekeeper::monitor::{Counters, ProcessSummary, Source, Totals};

/// The type that the answer says of itself.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Gauge = (&'static str, &'static str, fn(&Totals) -> u64);
type Count = (&'static str, &'static str, fn(&Counters) -> u64);

const GAUGES: [Gauge; 17] = [
    ("reserved_bytes", "Address space in regions.", |t| {
        t.reserved_bytes
    }),
    (
        "committed_bytes",
        "Reserved address space with memory promised for it.",
        |t| t.committed_bytes,
    ),
    ("private_bytes", "Committed, of nobody else's.", |t| {
        t.private_bytes
    }),
    (
        "working_set_bytes",
        "In RAM and in the process's page table.",
        |t| t.working_set_bytes,
    ),
    (
        "working_set_private_bytes",
        "Of the working set, anonymous.",
        |t| t.working_set_private_bytes,
    ),
    (
        "modified_bytes",
        "Out of the working set, in RAM, not stored elsewhere.",
        |t| t.modified_bytes,
    ),
    (
        "standby_bytes",
        "Out of the working set, in RAM, stored elsewhere as well.",
        |t| t.standby_bytes,
    ),
    (
        "compressed_bytes",
        "Pages in the compressed pool, at full size.",
        |t| t.compressed_bytes,
    ),
    ("pool_bytes", "RAM that the compressed pool uses.", |t| {
        t.pool_bytes
    }),
    (
        "page_file_bytes",
        "Pages that are only in the page file.",
        |t| t.page_file_bytes,
    ),
    (
        "page_file_allocated_bytes",
        "Disk space that page files have allocated.",
        |t| t.page_file_allocated_bytes,
    ),
    ("swapped_bytes", "Pages in the kernel's swap.", |t| {
        t.swapped_bytes
    }),
    ("budget_bytes", "RAM budget; 0 without one.", |t| {
        t.budget_bytes
    }),
    (
        "overhead_bytes",
        "RAM that Pagekeeper itself uses beside the budget.",
        |t| t.overhead_bytes,
    ),
    ("commit_charge_bytes", "Committed with Pagekeeper.", |t| {
        t.commit_charge_bytes
    }),
    (
        "commit_limit_bytes",
        "The commit limit; 0 without one.",
        |t| t.commit_limit_bytes,
    ),
    (
        "commit_peak_bytes",
        "The most that was ever committed with Pagekeeper.",
        |t| t.commit_peak_bytes,
    ),
];

const COUNTS: [Count; 9] = [
    (
        "soft_faults_total",
        "Faults answered without reading the disk.",
        |c| c.soft_faults,
    ),
    (
        "hard_faults_total",
        "Faults answered by reading the disk.",
        |c| c.hard_faults,
    ),
    (
        "zero_faults_total",
        "Of the soft faults, first touches.",
        |c| c.zero_faults,
    ),
    (
        "transition_faults_total",
        "Of the soft faults, pages taken back from lists.",
        |c| c.transition_faults,
    ),
    (
        "pool_faults_total",
        "Of the soft faults, pages unpacked.",
        |c| c.pool_faults,
    ),
    (
        "read_bytes_total",
        "Bytes that came from page files or disks.",
        |c| c.bytes_in,
    ),
    (
        "written_bytes_total",
        "Bytes written to page files or disks.",
        |c| c.bytes_out,
    ),
    (
        "lost_pages_total",
        "Pages that could not be read back.",
        |c| c.lost,
    ),
    (
        "refused_faults_total",
        "Faults that failed because nothing could leave.",
        |c| c.refused,
    ),
];

/// All metrics of these processes.
pub(super) fn text(processes: &[ProcessSummary]) -> String {
    let mut out = String::new();
    for (name, help, figure) in GAUGES {
        head(&mut out, name, help, "gauge");
        for process in processes {
            sample(&mut out, name, process, figure(&process.totals));
        }
    }
    for (name, help, figure) in COUNTS {
        head(&mut out, name, help, "counter");
        for process in processes {
            sample(&mut out, name, process, figure(&process.counters));
        }
    }
    out
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    // A string takes all that is written to it.
    let _ = writeln!(
        out,
        "# HELP pagekeeper_{name} {help}\n# TYPE pagekeeper_{name} {kind}"
    );
}

fn sample(out: &mut String, name: &str, process: &ProcessSummary, value: u64) {
    let source = match process.source {
        Source::Pagekeeper => "pagekeeper",
        Source::Proc => "proc",
    };
    let _ = writeln!(
        out,
        "pagekeeper_{name}{{pid=\"{}\",name=\"{}\",source=\"{source}\"}} {value}",
        process.pid,
        label(&process.name)
    );
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_help_its_type_and_a_sample() {
        let process = ProcessSummary {
            pid: 7,
            name: "a\"b\\".to_owned(),
            totals: Totals {
                working_set_bytes: 4096,
                ..Totals::default()
            },
            ..ProcessSummary::default()
        };
        let text = text(&[process]);
        assert!(text.contains(
            "pagekeeper_working_set_bytes{pid=\"7\",name=\"a\\\"b\\\\\",source=\"proc\"} 4096\n"
        ));
        let metrics = GAUGES.len() + COUNTS.len();
        assert_eq!(text.lines().count(), 3 * metrics);
        assert_eq!(text.matches("# TYPE").count(), metrics);
    }
}
