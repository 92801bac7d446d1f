//! The stacked time line, heat strips, and bars, drawn with the eighths of a cell that terminals have.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::history::{Moment, TimeLine};
use super::palette::{PLACES, QUIET};

/// Lower eighths of a cell.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// How much of a heat strip's cell is resident: none, up to a quarter, half, three quarters, all.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];

/// The last moments as stacked columns, the newest to the right; the height is `most` bytes. The budget is a line.
pub(super) fn stacked(line: &TimeLine, most: u64, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let moments: Vec<&Moment> = line.last(width).collect();
    let first = width - moments.len();
    for (column, moment) in moments.into_iter().enumerate() {
        let x = area.x + (first + column) as u16;
        column_of(moment, most.max(1), x, area, buffer);
    }
}

/// In eighths of a cell from the bottom: where each place begins and ends.
fn column_of(moment: &Moment, most: u64, x: u16, area: Rect, buffer: &mut Buffer) {
    let height = u64::from(area.height) * 8;
    let scaled = |bytes: u64| (u128::from(bytes) * u128::from(height) / u128::from(most)) as u64;
    let budget_row = (moment.budget > 0).then(|| scaled(moment.budget).min(height.max(1) - 1) / 8);
    for row in 0..u64::from(area.height) {
        let y = area.y + area.height - 1 - row as u16;
        let Some(cell) = buffer.cell_mut((x, y)) else {
            continue;
        };
        // What fills the cell's lower part, and what shows above it.
        let (mut sum, mut lower, mut upper, mut fill) = (0_u64, None, None, 0);
        for (bytes, (_, _, color)) in moment.places.iter().zip(PLACES) {
            let (from, to) = (scaled(sum), scaled(sum.saturating_add(*bytes)));
            sum = sum.saturating_add(*bytes);
            if to <= row * 8 || from >= row * 8 + 8 || from == to {
                continue;
            }
            if lower.is_none() {
                lower = Some(color);
                fill = (to - row * 8).min(8);
            } else if upper.is_none() {
                upper = Some(color);
            }
        }
        match lower {
            Some(color) if budget_row == Some(row) => {
                cell.set_char('┄');
                cell.set_style(Style::new().fg(Color::Reset).bg(color));
            }
            Some(color) => {
                cell.set_char(EIGHTHS[fill as usize]);
                let style = Style::new().fg(color);
                cell.set_style(match upper {
                    Some(upper) => style.bg(upper),
                    None => style,
                });
            }
            None if budget_row == Some(row) => {
                cell.set_char('┄');
                cell.set_style(QUIET);
            }
            None => {}
        }
    }
}

/// A heat strip in `width` characters.
pub(super) fn heat(cells: &[u8], width: usize) -> String {
    if cells.is_empty() {
        return String::new();
    }
    (0..width.min(cells.len()))
        .map(|column| {
            let from = column * cells.len() / width.min(cells.len());
            let to = ((column + 1) * cells.len() / width.min(cells.len())).max(from + 1);
            let part = cells.get(from..to).unwrap_or_default();
            let sum: usize = part.iter().map(|&cell| usize::from(cell)).sum();
            let level = sum.div_ceil(part.len().max(1));
            SHADES[level.div_ceil(64).min(SHADES.len() - 1)]
        })
        .collect()
}

/// A bar of `share` (0 to 1) of `width` characters.
pub(super) fn bar(share: f64, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).ceil() as usize;
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(PARTS[eighths % 8]);
    }
    text
}

/// The style of a place's letter.
pub(super) fn colored(color: Color) -> Style {
    Style::new().fg(color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_shows_the_least_resident_page() {
        assert_eq!(heat(&[0, 1, 128, 255], 4), "·░▒█");
        assert_eq!(heat(&[0, 0, 255, 255], 2), "·█");
        assert_eq!(heat(&[255], 8), "█");
        assert_eq!(heat(&[], 8), "");
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(0.0, 3), "");
    }

    #[test]
    fn a_column_stacks_its_places_and_shows_the_budget() {
        let area = Rect::new(0, 0, 2, 4);
        let mut buffer = Buffer::empty(area);
        let mut line = TimeLine::default();
        line.push(Moment {
            places: [50, 25, 0, 0, 0],
            budget: 99,
        });
        stacked(&line, 100, area, &mut buffer);
        let symbols: Vec<&str> = (0..4).map(|y| buffer[(1, y)].symbol()).collect();
        assert_eq!(symbols, ["┄", "█", "█", "█"]);
        assert_eq!(buffer[(1, 3)].fg, PLACES[0].2);
        assert_eq!(buffer[(1, 1)].fg, PLACES[1].2);
        assert_eq!(buffer[(0, 3)].symbol(), " ");
    }
}
