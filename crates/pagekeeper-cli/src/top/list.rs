//! The list of processes.

use std::time::Instant;

use pagekeeper::monitor::{MonitorError, ProcessSummary, Processes, Source};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::app::Command;
use super::history::{RateBook, Rates};
use super::palette::{CHOSEN, HEADING};

/// Width of a column of figures.
const FIGURE: usize = 6;
const PID: usize = 8;
/// Where the name has no more room than this, the command line is not shown.
const NAME: usize = 12;
const WIDE_NAME: usize = 16;

/// What the list is ordered by, and its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    Pid,
    Name,
    Reserved,
    Committed,
    #[default]
    WorkingSet,
    Private,
    Shared,
    PageFile,
    SoftFaults,
    HardFaults,
    In,
    Out,
}

/// The columns of figures, with their headings.
const COLUMNS: [(Order, &str); 10] = [
    (Order::Reserved, "resv"),
    (Order::Committed, "comm"),
    (Order::WorkingSet, "wset"),
    (Order::Private, "priv"),
    (Order::Shared, "shrd"),
    (Order::PageFile, "page"),
    (Order::SoftFaults, "soft"),
    (Order::HardFaults, "hard"),
    (Order::In, "in"),
    (Order::Out, "out"),
];

struct Row {
    process: ProcessSummary,
    rates: Rates,
}

/// See the module text.
#[derive(Default)]
pub(super) struct List {
    processes: Processes,
    book: RateBook,
    rows: Vec<Row>,
    /// Places in `rows`, in the order and choice that is shown.
    shown: Vec<usize>,
    order: Order,
    is_reversed: bool,
    only_pagekeeper: bool,
    filter: String,
    chosen: Option<u32>,
    first: usize,
    name_width: usize,
}

impl List {
    pub(super) fn look(&mut self) -> Result<(), MonitorError> {
        let listed = self.processes.refresh()?;
        let now = Instant::now();
        self.book.keep(&listed);
        self.rows = listed
            .into_iter()
            .map(|process| Row {
                rates: self.book.rates(process.pid, &process.counters, now),
                process,
            })
            .collect();
        self.arrange();
        Ok(())
    }

    /// Orders and chooses again.
    pub(super) fn arrange(&mut self) {
        let wanted = self.filter.to_lowercase();
        let rows = &self.rows;
        let matches = |row: &Row| {
            (!self.only_pagekeeper || row.process.source == Source::Pagekeeper)
                && (wanted.is_empty()
                    || row.process.name.to_lowercase().contains(&wanted)
                    || row.process.command.to_lowercase().contains(&wanted)
                    || row.process.pid.to_string() == wanted)
        };
        self.shown = (0..rows.len())
            .filter(|&place| rows.get(place).is_some_and(matches))
            .collect();
        let order = self.order;
        self.shown.sort_by(|&one, &other| {
            let (one, other) = (&rows[one], &rows[other]);
            match order {
                Order::Pid => one.process.pid.cmp(&other.process.pid),
                Order::Name => one.process.name.cmp(&other.process.name),
                // The most first.
                _ => figure(other, order).total_cmp(&figure(one, order)),
            }
        });
        if self.is_reversed {
            self.shown.reverse();
        }
        if self.place().is_none() {
            self.chosen = self.pid_at(0);
        }
    }

    fn pid_at(&self, place: usize) -> Option<u32> {
        let row = self.rows.get(*self.shown.get(place)?)?;
        Some(row.process.pid)
    }

    fn place(&self) -> Option<usize> {
        let chosen = self.chosen?;
        (0..self.shown.len()).find(|&place| self.pid_at(place) == Some(chosen))
    }

    pub(super) fn chosen(&self) -> Option<u32> {
        self.chosen
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn filter_mut(&mut self) -> &mut String {
        &mut self.filter
    }

    pub(super) fn command(&mut self, command: Command) {
        let last = self.shown.len().saturating_sub(1);
        let place = self.place().unwrap_or(0);
        match command {
            Command::Move(by) => {
                self.chosen = self.pid_at(place.saturating_add_signed(by).min(last));
            }
            Command::First => self.chosen = self.pid_at(0),
            Command::Last => self.chosen = self.pid_at(last),
            Command::Sort => {
                let now = COLUMNS.iter().position(|(order, _)| *order == self.order);
                let next = now.map_or(0, |place| (place + 1) % COLUMNS.len());
                self.order = COLUMNS.get(next).map_or(Order::Pid, |(order, _)| *order);
                self.arrange();
            }
            Command::Reverse => {
                self.is_reversed = !self.is_reversed;
                self.arrange();
            }
            Command::Kind => {
                self.only_pagekeeper = !self.only_pagekeeper;
                self.arrange();
            }
            Command::Enter => {}
        }
    }

    /// A line was clicked on; whether it was chosen before.
    pub(super) fn choose(&mut self, line: usize) -> bool {
        let Some(pid) = self.pid_at(self.first + line) else {
            return false;
        };
        self.chosen.replace(pid) == Some(pid)
    }

    /// The heading was clicked on.
    pub(super) fn sort_at(&mut self, x: u16) {
        let x = usize::from(x);
        let figures = PID + self.name_width;
        let order = match x {
            _ if x < PID => Order::Pid,
            _ if x < figures => Order::Name,
            _ => match COLUMNS.get((x - figures) / FIGURE) {
                Some((order, _)) => *order,
                None => return,
            },
        };
        self.is_reversed = order == self.order && !self.is_reversed;
        self.order = order;
        self.arrange();
    }

    pub(super) fn title(&self) -> String {
        let ours = self
            .rows
            .iter()
            .filter(|row| row.process.source == Source::Pagekeeper)
            .count();
        format!(
            "pagekeeper top  {} processes, {ours} with Pagekeeper",
            self.rows.len()
        )
    }

    /// Draws heading and lines; gives the place of the lines.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) -> Rect {
        let lines = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        let figures = FIGURE * COLUMNS.len();
        let is_wide = usize::from(area.width) > PID + WIDE_NAME + figures + 10;
        self.name_width = if is_wide { WIDE_NAME } else { NAME };
        frame.render_widget(self.heading(), Rect { height: 1, ..area });
        let height = usize::from(lines.height);
        let place = self.place().unwrap_or(0);
        self.first = self
            .first
            .clamp((place + 1).saturating_sub(height.max(1)), place)
            .min(self.shown.len().saturating_sub(height));
        for (line, &row) in self.shown.iter().skip(self.first).take(height).enumerate() {
            let Some(row) = self.rows.get(row) else {
                continue;
            };
            let mut text = self.line(row);
            if is_wide {
                text += "  ";
                text += &row.process.command;
            }
            // To the edge, so that the chosen line is marked whole.
            let text = format!("{text:<width$}", width = usize::from(area.width));
            let style = match Some(row.process.pid) == self.chosen {
                true => CHOSEN,
                false if row.process.source == Source::Pagekeeper => HEADING,
                false => ratatui::style::Style::new(),
            };
            let at = Rect {
                y: lines.y + line as u16,
                height: 1,
                ..lines
            };
            frame.render_widget(Line::styled(text, style), at);
        }
        lines
    }

    fn heading(&self) -> Line<'static> {
        let mark = if self.is_reversed { '^' } else { 'v' };
        let marked = |name: &str, order: Order| match order == self.order {
            true => format!("{mark}{name}"),
            false => name.to_owned(),
        };
        let mut text = format!(
            "{:>7} {:<width$}",
            marked("PID", Order::Pid),
            marked("NAME", Order::Name),
            width = self.name_width
        );
        for (order, name) in COLUMNS {
            text += &format!("{:>6}", marked(name, order));
        }
        Line::styled(text, HEADING)
    }

    fn line(&self, row: &Row) -> String {
        let name: String = row.process.name.chars().take(self.name_width - 1).collect();
        let mut text = format!(
            "{:>7} {name:<width$}",
            row.process.pid,
            width = self.name_width
        );
        for (order, _) in COLUMNS {
            let value = figure(row, order);
            let shown = match order {
                Order::SoftFaults | Order::HardFaults => counted(value),
                Order::In | Order::Out => megabytes(value),
                _ => short(value as u64),
            };
            text += &format!("{shown:>6}");
        }
        text
    }
}

fn figure(row: &Row, order: Order) -> f64 {
    let totals = &row.process.totals;
    let bytes = match order {
        Order::Pid | Order::Name => 0,
        Order::Reserved => totals.reserved_bytes,
        Order::Committed => totals.committed_bytes,
        Order::WorkingSet => totals.working_set_bytes,
        Order::Private => totals.private_bytes,
        Order::Shared => totals.shared_bytes,
        Order::PageFile => totals.page_file_bytes + totals.swapped_bytes,
        Order::SoftFaults => return row.rates.soft_faults,
        Order::HardFaults => return row.rates.hard_faults,
        Order::In => return row.rates.bytes_in,
        Order::Out => return row.rates.bytes_out,
    };
    bytes as f64
}

/// A size in five characters at most.
pub(super) fn short(bytes: u64) -> String {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes == 0 {
        return "-".to_owned();
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value {
        _ if value < 9.95 && unit > 0 => format!("{value:.1}{}", UNITS[unit]),
        _ => format!("{value:.0}{}", UNITS[unit]),
    }
}

/// A count in five characters at most.
pub(super) fn counted(value: f64) -> String {
    match value {
        _ if value < 0.5 => "-".to_owned(),
        _ if value < 99_999.5 => format!("{value:.0}"),
        _ if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

/// Millions of bytes a second.
pub(super) fn megabytes(value: f64) -> String {
    match value / 1e6 {
        value if value < 0.05 => "-".to_owned(),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_fit_their_columns() {
        for bytes in [
            0,
            1,
            1023,
            1 << 20,
            999 << 10,
            (1 << 30) - 1,
            1 << 40,
            u64::MAX,
        ] {
            let text = short(bytes);
            assert!(text.len() <= 5, "{bytes}: {text}");
        }
        assert_eq!(short(1 << 20), "1.0M");
        assert_eq!(short(250 << 20), "250M");
        assert_eq!(short(1 << 40), "1.0T");
        assert_eq!(counted(0.0), "-");
        assert_eq!(counted(123_456.0), "123k");
        assert_eq!(megabytes(12_340_000.0), "12.3");
    }

    #[test]
    fn the_list_is_ordered_filtered_and_walked() {
        let row = |pid, name: &str, working_set_bytes| Row {
            process: ProcessSummary {
                pid,
                name: name.to_owned(),
                totals: pagekeeper::monitor::Totals {
                    working_set_bytes,
                    ..Default::default()
                },
                ..ProcessSummary::default()
            },
            rates: Rates::default(),
        };
        let mut list = List {
            rows: vec![
                row(1, "small", 10),
                row(2, "large", 30),
                row(3, "middle", 20),
            ],
            ..List::default()
        };
        list.arrange();
        let pids = |list: &List| -> Vec<u32> {
            (0..list.shown.len())
                .filter_map(|place| list.pid_at(place))
                .collect()
        };
        assert_eq!(pids(&list), [2, 3, 1]);
        assert_eq!(list.chosen(), Some(2));
        list.command(Command::Move(1));
        list.command(Command::Reverse);
        assert_eq!((pids(&list), list.chosen()), (vec![1, 3, 2], Some(3)));
        list.filter_mut().push_str("LARGE");
        list.arrange();
        assert_eq!((pids(&list), list.chosen()), (vec![2], Some(2)));
        list.filter_mut().clear();
        list.command(Command::Kind);
        assert!(pids(&list).is_empty() && list.chosen().is_none());
    }
}
