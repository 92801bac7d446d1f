//! Printing for people: width, tables, figures with units.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use pagekeeper::ByteCount;

/// Where no terminal says otherwise.
const DEFAULT_WIDTH: u16 = 80;
/// Longer lines are hard to read.
const MOST_WIDTH: u16 = 110;

/// Prints to standard output. A reader that has gone away (`| head`) is no error. Nothing in it steers a terminal.
pub(crate) fn print(text: &str) {
    let lines: Vec<_> = text.split('\n').map(clean).collect();
    let mut output = std::io::stdout().lock();
    // Nobody is left to tell.
    let _ = output
        .write_all(lines.join("\n").as_bytes())
        .and_then(|()| output.flush());
}

/// What somebody else wrote (a process's name, a note, a path), as it may be shown: what would steer a terminal is a `?`.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let steers = |character: char| character.is_control() && character != '\t';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let harmless = |character| if steers(character) { '?' } else { character };
    Cow::Owned(text.chars().map(harmless).collect())
}

/// Prints to standard output; whether somebody still reads it.
pub(crate) fn print_if_read(text: &str) -> bool {
    let mut output = std::io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .is_ok()
}

/// A value as JSON on one line.
pub(crate) fn json_line(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).map_or_else(|error| error.to_string(), |text| text + "\n")
}

/// Prints a value as JSON on one output.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => eprintln!("pagekeeper: cannot write JSON: {error}"),
    }
}

/// Columns that text may fill.
pub(crate) fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map(|size| size.ws_col)
        .ok()
        .filter(|&columns| columns > 0)
        .unwrap_or(DEFAULT_WIDTH)
        .min(MOST_WIDTH)
}

/// An empty table in the program's style, as wide as the terminal.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width());
    table
}

/// Lines without the blanks at their ends that tables are filled up with.
pub(crate) fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// A number with a comma between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes, three figures and a unit.
pub(crate) fn size(bytes: u64) -> String {
    ByteCount::new(bytes).human()
}

/// A short time: nanoseconds to seconds.
pub(crate) fn nanoseconds(time: u64) -> String {
    match time {
        0..1_000 => format!("{time} ns"),
        1_000..100_000 => format!("{:.1} µs", time as f64 / 1e3),
        100_000..1_000_000 => format!("{} µs", time / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} ms", time as f64 / 1e6),
        _ => format!("{:.1} s", time as f64 / 1e9),
    }
}

/// Millions of bytes a second.
pub(crate) fn megabytes_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_not_shown() {
        assert_eq!(clean("\u{1b}[2Jx\u{9b}8m\ny\tz"), "?[2Jx?8m?y\tz");
        assert!(matches!(
            clean("plain – text"),
            Cow::Borrowed("plain – text")
        ));
    }

    #[test]
    fn figures_are_easy_to_read() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(nanoseconds(850), "850 ns");
        assert_eq!(nanoseconds(8_192), "8.2 µs");
        assert_eq!(nanoseconds(131_072), "131 µs");
        assert_eq!(nanoseconds(2_500_000), "2.5 ms");
        assert_eq!(nanoseconds(3_000_000_000), "3.0 s");
        assert_eq!(trimmed("a  \nb\n\n"), "a\nb\n\n");
    }
}
