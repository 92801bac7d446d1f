//! One process: figures, time line, latencies, code that faults, and its regions.

use std::time::Instant;

use pagekeeper::monitor::{MonitorError, Observer, Region, RegionKind, Snapshot, Source};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::app::Command;
use super::chart::{self, colored};
use super::history::{Moment, RateBook, Rates, TimeLine};
use super::list::{counted, megabytes, short};
use super::palette::{self, CHOSEN, HEADING, PLACES, QUIET, WARNING};
use super::symbols::Symbols;
use super::tree::{self, Branch, Choice, Order};
use crate::terminal::nanoseconds;

/// Width of a heat strip, and where there is little room.
const STRIP: usize = 16;
const SHORT_STRIP: usize = 10;
/// Width of the right column with latencies and code.
const SIDE: u16 = 34;

/// See the module text.
pub(super) struct Detail {
    observer: Observer,
    snapshot: Snapshot,
    book: RateBook,
    rates: Rates,
    time_line: TimeLine,
    symbols: Symbols,
    choice: Choice,
    branches: Vec<Branch>,
    /// The chosen branch: first region's base, and whether it is an allocation.
    chosen: Option<(u64, bool)>,
    first: usize,
}

impl Detail {
    pub(super) fn new(pid: u32) -> Result<Self, MonitorError> {
        Ok(Self {
            observer: Observer::of(pid)?,
            snapshot: Snapshot::default(),
            book: RateBook::default(),
            rates: Rates::default(),
            time_line: TimeLine::default(),
            symbols: Symbols::default(),
            choice: Choice::default(),
            branches: Vec::new(),
            chosen: None,
            first: 0,
        })
    }

    pub(super) fn look(&mut self) -> Result<(), MonitorError> {
        self.snapshot = self.observer.snapshot()?;
        let pid = self.observer.pid();
        self.rates = self
            .book
            .rates(pid, &self.snapshot.counters, Instant::now());
        self.time_line.push(Moment::of(&self.snapshot));
        self.arrange();
        Ok(())
    }

    /// Orders and chooses again.
    pub(super) fn arrange(&mut self) {
        self.branches = tree::branches(&self.snapshot.regions, &self.choice);
        if self.place().is_none() {
            self.chosen = self.key_at(0);
        }
    }

    fn key_of(&self, branch: &Branch) -> Option<(u64, bool)> {
        let region = self.snapshot.regions.get(branch.first)?;
        Some((region.base, branch.is_allocation))
    }

    fn key_at(&self, place: usize) -> Option<(u64, bool)> {
        self.key_of(self.branches.get(place)?)
    }

    fn place(&self) -> Option<usize> {
        let chosen = self.chosen?;
        self.branches
            .iter()
            .position(|branch| self.key_of(branch) == Some(chosen))
    }

    pub(super) fn filter(&self) -> &str {
        &self.choice.filter
    }

    pub(super) fn filter_mut(&mut self) -> &mut String {
        &mut self.choice.filter
    }

    pub(super) fn command(&mut self, command: Command) {
        let last = self.branches.len().saturating_sub(1);
        let place = self.place().unwrap_or(0);
        match command {
            Command::Move(by) => {
                self.chosen = self.key_at(place.saturating_add_signed(by).min(last));
                return;
            }
            Command::First => self.chosen = self.key_at(0),
            Command::Last => self.chosen = self.key_at(last),
            Command::Enter => {
                if let Some((base, true)) = self.chosen
                    && !self.choice.open.remove(&base)
                {
                    self.choice.open.insert(base);
                }
            }
            Command::Sort => self.choice.order = self.choice.order.next(),
            Command::Reverse => self.choice.is_reversed = !self.choice.is_reversed,
            Command::Kind => self.choice.kind = self.next_kind(),
        }
        self.arrange();
    }

    /// The next kind of which there is any.
    fn next_kind(&self) -> Option<RegionKind> {
        let behind = self.choice.kind.map_or(0, |kind| {
            RegionKind::ALL
                .iter()
                .position(|other| *other == kind)
                .map_or(0, |place| place + 1)
        });
        let exists = |kind: &RegionKind| {
            self.snapshot
                .regions
                .iter()
                .any(|region| region.kind == *kind)
        };
        RegionKind::ALL.into_iter().skip(behind).find(exists)
    }

    /// A line was clicked on; whether it was chosen before.
    pub(super) fn choose(&mut self, line: usize) -> bool {
        let Some(key) = self.key_at(self.first + line) else {
            return false;
        };
        self.chosen.replace(key) == Some(key)
    }

    pub(super) fn title(&self) -> String {
        let snapshot = &self.snapshot;
        let who = match snapshot.source {
            Source::Pagekeeper => {
                let mut engines: Vec<&str> = snapshot
                    .engines
                    .iter()
                    .map(|engine| engine.engine.as_str())
                    .collect();
                engines.sort_unstable();
                engines.dedup();
                format!("Pagekeeper ({})", engines.join(", "))
            }
            Source::Proc => "by /proc".to_owned(),
        };
        format!("{} {}  {who}", snapshot.pid, snapshot.name)
    }

    /// Draws everything; gives the place of the tree's lines.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, area: Rect) -> Rect {
        let upper = (area.height / 2).clamp(7, 16).min(area.height);
        let [figures, charts, heading, lines] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(upper.saturating_sub(2)),
            Constraint::Length(1),
            Constraint::Min(1),
        ])
        .areas(area);
        self.draw_figures(frame, figures);
        let side = if area.width >= 160 { SIDE * 2 } else { SIDE };
        let [left, right] =
            Layout::horizontal([Constraint::Min(20), Constraint::Length(side)]).areas(charts);
        self.draw_time_line(frame, left);
        self.draw_side(frame, right);
        self.draw_tree(frame, heading, lines);
        lines
    }

    fn draw_figures(&self, frame: &mut Frame<'_>, area: Rect) {
        let moment = Moment::of(&self.snapshot);
        let mut places = Vec::new();
        for (bytes, (name, letter, color)) in moment.places.iter().zip(PLACES) {
            places.push(Span::styled(format!("{letter} "), colored(color)));
            let name = if area.width >= 120 { name } else { "" };
            let blank = if name.is_empty() { "" } else { " " };
            places.push(Span::raw(format!("{name}{blank}{}  ", short(*bytes))));
        }
        let totals = &self.snapshot.totals;
        places.push(Span::raw(format!(
            "budget {}  committed {} of {}",
            short(totals.budget_bytes),
            short(match totals.commit_limit_bytes {
                0 => totals.committed_bytes,
                _ => totals.commit_charge_bytes,
            }),
            short(totals.commit_limit_bytes),
        )));
        if area.width >= 90 {
            let reserved = format!("  reserved {}", short(totals.reserved_bytes));
            places.push(Span::raw(reserved));
        }
        frame.render_widget(Line::from(places), Rect { height: 1, ..area });
        let rates = &self.rates;
        let activity = format!(
            "faults/s {} soft {} hard  MB/s {} in {} out",
            counted(rates.soft_faults),
            counted(rates.hard_faults),
            megabytes(rates.bytes_in),
            megabytes(rates.bytes_out)
        );
        let mut spans = vec![Span::raw(activity)];
        if let Some(note) = self.snapshot.notes.first() {
            spans.push(Span::styled(format!("  {note}"), WARNING));
        }
        let below = Rect {
            y: area.y + 1,
            height: 1,
            ..area
        };
        frame.render_widget(Line::from(spans), below);
    }

    fn draw_time_line(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let most = self
            .time_line
            .last(width)
            .map(|moment| moment.places.iter().sum::<u64>().max(moment.budget))
            .max()
            .unwrap_or(1);
        chart::stacked(&self.time_line, most, area, frame.buffer_mut());
        let top = Rect { height: 1, ..area };
        frame.render_widget(Span::styled(short(most), QUIET), top);
    }

    /// Latencies and code that faults.
    fn draw_side(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let mut lines = Vec::new();
        let height = usize::from(area.height);
        let width = usize::from(area.width).saturating_sub(1);
        if self.snapshot.latency.is_empty() {
            lines.push(Line::styled("fault latency: not measured", QUIET));
        } else {
            let of = |share| {
                self.snapshot
                    .latency_quantile_ns(share)
                    .map_or_else(|| "-".to_owned(), nanoseconds)
            };
            let text = format!("latency p50 {} p99 {}", of(0.5), of(0.99));
            lines.push(Line::styled(text, HEADING));
            lines.extend(self.latency_lines((height / 2).saturating_sub(1), width));
        }
        if self.snapshot.fault_sites.is_empty() {
            lines.push(Line::styled("code that faults: not known", QUIET));
        } else {
            lines.push(Line::styled("code that faults most", HEADING));
            let room = height.saturating_sub(lines.len());
            lines.extend(self.site_lines(room, width));
        }
        for (place, line) in lines.into_iter().take(height).enumerate() {
            let at = Rect {
                x: area.x + 1,
                y: area.y + place as u16,
                width: area.width.saturating_sub(1),
                height: 1,
            };
            frame.render_widget(line, at);
        }
    }

    /// The fullest cells of the histogram side by side, as many as there is room for.
    fn latency_lines(&self, room: usize, width: usize) -> Vec<Line<'static>> {
        let latency = &self.snapshot.latency;
        let most = latency.iter().copied().max().unwrap_or(0).max(1);
        let fullest = latency.iter().position(|count| *count == most).unwrap_or(0);
        let used = |cell: usize| latency.get(cell).is_some_and(|count| *count > 0);
        let mut first = fullest.saturating_sub(room / 2);
        while first < fullest && !used(first) {
            first += 1;
        }
        (first..latency.len())
            .take(room)
            .filter(|&cell| used(cell))
            .map(|cell| {
                let count = latency.get(cell).copied().unwrap_or(0);
                let bar = chart::bar(count as f64 / most as f64, width.saturating_sub(16));
                let text = format!(
                    "<{:>7} {bar} {}",
                    nanoseconds(2 << cell),
                    counted(count as f64)
                );
                Line::styled(text, colored(PLACES[0].2))
            })
            .collect()
    }

    fn site_lines(&mut self, room: usize, width: usize) -> Vec<Line<'static>> {
        let pid = self.snapshot.pid;
        let sites: Vec<_> = self
            .snapshot
            .fault_sites
            .iter()
            .take(room)
            .cloned()
            .collect();
        sites
            .into_iter()
            .map(|site| {
                let module = site
                    .module
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let name = self
                    .symbols
                    .name(pid, &site.module, site.offset)
                    .unwrap_or_else(|| match module.is_empty() {
                        true => format!("{:#x}", site.address),
                        false => format!("{module}+{:#x}", site.offset),
                    });
                let text = format!("{:>6} {name}", counted(site.faults as f64));
                Line::raw(text.chars().take(width).collect::<String>())
            })
            .collect()
    }

    fn draw_tree(&mut self, frame: &mut Frame<'_>, heading: Rect, lines: Rect) {
        let mark = if self.choice.is_reversed { '^' } else { 'v' };
        let marked = |name: &str, order: Order| match order == self.choice.order {
            true => format!("{mark}{name}"),
            false => name.to_owned(),
        };
        let kind = self
            .choice
            .kind
            .map_or_else(|| "type".to_owned(), |kind| format!("={}", kind.name()));
        let strip = strip_width(heading.width);
        let title = format!(
            "{:<15}{:>6}{:>6}{:>6} {kind:<10.10} {:<9} {:<strip$} name",
            marked("REGION", Order::Address),
            marked("size", Order::Size),
            marked("comm", Order::Committed),
            marked("RAM", Order::Resident),
            "state",
            "in RAM",
        );
        frame.render_widget(Line::styled(title, HEADING), heading);
        let height = usize::from(lines.height);
        let place = self.place().unwrap_or(0);
        self.first = self
            .first
            .clamp((place + 1).saturating_sub(height.max(1)), place)
            .min(self.branches.len().saturating_sub(height));
        for (row, branch) in self
            .branches
            .iter()
            .skip(self.first)
            .take(height)
            .enumerate()
        {
            let at = Rect {
                y: lines.y + row as u16,
                height: 1,
                ..lines
            };
            let is_chosen = self.key_of(branch) == self.chosen;
            frame.render_widget(self.branch_line(branch, is_chosen, lines.width), at);
        }
    }

    fn branch_line(&self, branch: &Branch, is_chosen: bool, width: u16) -> Line<'static> {
        let Some(region) = self.snapshot.regions.get(branch.first) else {
            return Line::default();
        };
        let mark = match (branch.is_allocation, branch.count) {
            (true, 1) => ' ',
            (true, _) if self.choice.open.contains(&region.base) => '▾',
            (true, _) => '▸',
            (false, _) => '└',
        };
        let state = match branch.count {
            1 => tree::state(region),
            count => format!("{count} parts"),
        };
        let cells = strip_width(width);
        let strip = chart::heat(&tree::heat(&self.snapshot.regions, branch, cells), cells);
        let style = if is_chosen { CHOSEN } else { Style::new() };
        // What is chosen is turned round and has no colours of its own.
        let color = match is_chosen {
            true => style,
            false => colored(palette::kind(region.kind)),
        };
        let figures = format!(
            "{mark} {:<13}{:>6}{:>6}{:>6} ",
            format!("{:012x}", region.base),
            short(branch.size_bytes),
            short(branch.committed_bytes),
            short(branch.pages.resident * 4096),
        );
        Line::from(vec![
            Span::styled(figures, style),
            Span::styled(format!("{:<10} ", region.kind.name()), color),
            Span::styled(format!("{state:<9} "), style),
            Span::styled(format!("{strip:<cells$} "), color),
            // To the edge, so that the chosen line is marked whole.
            Span::styled(
                format!("{:<width$}", name_of(region), width = usize::from(width)),
                style,
            ),
        ])
    }
}

fn strip_width(width: u16) -> usize {
    if width < 100 { SHORT_STRIP } else { STRIP }
}

fn name_of(region: &Region) -> String {
    match region.name.is_empty() {
        true => region.engine.clone(),
        false => region.name.clone(),
    }
}
