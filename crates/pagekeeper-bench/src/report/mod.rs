//! The tables: what stands in docs/benchmarks.md. A sentence for each table says what was measured, and nothing else.

mod calls;
mod fits;
mod heap;
mod metadata;
mod monitor;
mod paging;
mod table;
mod views;

use std::fmt::Write as _;

use pagekeeper_units::ByteCount;

use crate::contender::ContenderKind;
use crate::content::DataKind;
use crate::race::paging_family;
use crate::results::Results;
use crate::statistics::{Summary, figure};

/// All tables as Markdown.
pub(crate) fn document(results: &Results) -> String {
    let mut text = String::from("# Benchmarks\n\n");
    head(results, &mut text);
    if !results.differences.is_empty() {
        text += "\n**Contents were not what had been written:**\n\n";
        for line in &results.differences {
            let _ = writeln!(text, "- {line}");
        }
    }
    for kind in DataKind::ALL {
        if results.has(&paging_family(kind)) {
            paging::write(results, kind, &mut text);
        }
    }
    if results.has("fits") {
        fits::write(results, &mut text);
    }
    if results.has("metadata") {
        metadata::write(results, &mut text);
    }
    if results.has("calls") {
        calls::write(results, &mut text);
    }
    if results.has("heap") {
        heap::write(results, &mut text);
    }
    if results.has("views") {
        views::write(results, &mut text);
    }
    if results.has("monitor") {
        monitor::write(results, &mut text);
    }
    skipped(results, &mut text);
    text
}

fn head(results: &Results, text: &mut String) {
    let (asked, machine) = (&results.asked, &results.machine);
    let _ = writeln!(text, "Written on {} by `{}`.", machine.date, asked.command);
    if asked.quick {
        *text += "This was a quick run: it shows that everything runs, not how fast.\n";
    }
    *text += "\n| machine | |\n|---|---|\n";
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    line("kernel", &machine.kernel);
    let kind = if machine.virtual_machine {
        ", virtual machine"
    } else {
        ""
    };
    line(
        "processor",
        &format!("{} × {}{kind}", machine.processors, machine.processor),
    );
    line("memory", &ByteCount::new(machine.memory_bytes).human());
    let mitigations = machine.mitigations.join("; ");
    line(
        "mitigations",
        if mitigations.is_empty() {
            "none needed"
        } else {
            &mitigations
        },
    );
    line("transparent huge pages", &machine.huge_pages);
    line(
        "swapping",
        &format!(
            "swappiness {}, page-cluster {}, swap space of others {}",
            machine.swappiness,
            machine.page_cluster,
            ByteCount::new(machine.swap_before_bytes).human()
        ),
    );
    line("memory control groups", &machine.control_groups);
    line("disk of page files and swap files", &machine.disk);
    if let Some(speed) = &machine.disk_speed {
        line(
            "the disk, direct I/O, one request at a time",
            &format!(
                "4 KiB read {} µs (p99 {}), write {} µs (p99 {}); 1 MiB read {} MB/s, write {} MB/s",
                figure(speed.read_4k_p50_us),
                figure(speed.read_4k_p99_us),
                figure(speed.write_4k_p50_us),
                figure(speed.write_4k_p99_us),
                figure(speed.read_mb_per_second),
                figure(speed.write_mb_per_second)
            ),
        );
    }
    line(
        "load average",
        &format!(
            "{} at the start, {} at the end",
            machine.load, results.load_at_end
        ),
    );
    let busy = machine
        .load
        .parse()
        .is_ok_and(|load: f64| load > machine.processors as f64 / 4.0);
    if busy {
        *text += "\n**Other programs were running: the figures are rough.**\n";
    }
    let mut runs = if asked.repeat == 1 {
        "one run".to_owned()
    } else {
        format!("{} runs", asked.repeat)
    };
    if asked.repeat_uniform > asked.repeat {
        let more = asked.repeat_uniform;
        runs += &format!(" (fill, scan, uniform and data that fits: {more})");
    }
    let _ = writeln!(
        text,
        "\nFigures are medians of {runs} with least and most in brackets; contenders took turns, each in a process of its own, after memory was warmed by touching it: {} at the start, and before each turn what it uses.",
        ByteCount::new(asked.warmed_bytes).human()
    );
    contenders(text);
}

fn contenders(text: &mut String) {
    *text += "\n| contender | what it is |\n|---|---|\n";
    for kind in [
        ContenderKind::Inline,
        ContenderKind::Mapped,
        ContenderKind::Resident,
        ContenderKind::PlainHuge,
        ContenderKind::Plain,
        ContenderKind::FileMapping,
        ContenderKind::SwapFile,
        ContenderKind::SwapZram,
    ] {
        let _ = writeln!(
            text,
            "| {} | {} |",
            kind.name(),
            kind.contender().describe()
        );
    }
}

fn skipped(results: &Results, text: &mut String) {
    if results.skipped.is_empty() {
        return;
    }
    *text += "\n## Skipped and failed\n\n";
    for one in &results.skipped {
        let how = match (one.failed, one.turns) {
            (false, _) => "skipped, because".to_owned(),
            (true, 1) => "failed in one turn:".to_owned(),
            (true, turns) => format!("failed in {turns} turns:"),
        };
        let reason = one.reason.replace('\n', " ");
        let _ = writeln!(
            text,
            "- {}, {}: {how} {reason}.",
            one.family,
            one.contender.name()
        );
    }
}

/// Median, and least and most in brackets if there is more than one measurement.
fn spread(found: Option<Summary>) -> String {
    match found {
        None => "–".to_owned(),
        Some(one) if one.count == 1 => figure(one.median),
        Some(all) => format!(
            "{} ({}–{})",
            figure(all.median),
            figure(all.least),
            figure(all.most)
        ),
    }
}

/// The median, and where it surely lies.
fn interval(found: Option<Summary>) -> String {
    found.map_or_else(
        || "–".to_owned(),
        |all| {
            let [low, high] = all.interval.map(figure);
            format!("{} ({low}–{high})", figure(all.median))
        },
    )
}

/// The median alone.
fn median(found: Option<Summary>) -> String {
    found.map_or_else(|| "–".to_owned(), |all| figure(all.median))
}

/// A ratio of medians.
fn ratio(one: Option<Summary>, other: Option<Summary>) -> String {
    one.zip(other)
        .and_then(|(one, other)| one.ratio_to(&other))
        .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// Bytes as MiB.
fn mebibytes(found: Option<Summary>) -> Option<Summary> {
    const MIB: f64 = 1_048_576.0;
    found.map(|all| Summary {
        median: all.median / MIB,
        least: all.least / MIB,
        most: all.most / MIB,
        count: all.count,
        interval: all.interval.map(|bound| bound / MIB),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn a_run_without_measurements_still_says_what_machine_it_was() {
        let text = document(&empty());
        assert!(text.starts_with("# Benchmarks\n"));
        for part in ["cargo run", "quick run", "| kernel |", "| swap on zram |"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("## "), "no table without measurements");
    }

    #[test]
    fn who_was_skipped_is_said_with_the_reason() {
        let mut results = empty();
        results.skip(
            "fits",
            ContenderKind::Mapped,
            "it\npanicked".to_owned(),
            true,
        );
        results.skip(
            "paging/compressible",
            ContenderKind::SwapZram,
            "it needs root".to_owned(),
            false,
        );
        let text = document(&results);
        assert!(
            text.contains("- fits, ours, mapped: failed in one turn: it panicked."),
            "{text}"
        );
        assert!(
            text.contains("swap on zram: skipped, because it needs root."),
            "{text}"
        );
    }

    #[test]
    fn differences_stand_at_the_top() {
        let mut results = empty();
        results
            .differences
            .push("fits: ours, inline: 3 words are not what was written".to_owned());
        assert!(document(&results).contains("**Contents were not what had been written:**"));
    }

    #[test]
    fn missing_figures_are_dashes() {
        assert_eq!(
            (spread(None), median(None), ratio(None, None)),
            ("–".into(), "–".into(), "–".into())
        );
        let all = Summary::of(&[1.0, 2.0, 4.0]);
        assert_eq!(spread(all), "2.00 (1.00–4.00)");
        assert_eq!(ratio(all, Summary::of(&[4.0])), "0.50");
    }
}
