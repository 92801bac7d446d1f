//! Colours that people tell apart however they see colours (after Okabe and Ito), on light and on dark: middling in brightness, and
//! never the only thing that tells two things apart.

use pagekeeper::monitor::RegionKind;
use ratatui::style::{Color, Modifier, Style};

/// Where memory is, from the fastest to the slowest, with a letter and a colour.
pub(super) const PLACES: [(&str, char, Color); 5] = [
    ("working set", 'W', Color::Rgb(0, 125, 190)),
    ("modified", 'M', Color::Rgb(213, 94, 0)),
    ("standby", 'S', Color::Rgb(0, 158, 115)),
    ("compressed", 'C', Color::Rgb(204, 121, 167)),
    ("page file", 'F', Color::Rgb(176, 144, 24)),
];

/// Heading and chosen lines: the terminal's own colours, turned round.
pub(super) const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
pub(super) const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
/// What is less important, still readable everywhere.
pub(super) const QUIET: Style = Style::new().fg(Color::Rgb(128, 128, 128));
pub(super) const WARNING: Style = Style::new()
    .fg(Color::Rgb(213, 94, 0))
    .add_modifier(Modifier::BOLD);

/// The colour of a kind of region.
pub(super) const fn kind(kind: RegionKind) -> Color {
    match kind {
        RegionKind::Managed => Color::Rgb(0, 125, 190),
        RegionKind::Section => Color::Rgb(0, 158, 115),
        RegionKind::Image => Color::Rgb(204, 121, 167),
        RegionKind::Mapped => Color::Rgb(176, 144, 24),
        RegionKind::Heap | RegionKind::Private => Color::Rgb(213, 94, 0),
        RegionKind::Stack => Color::Rgb(60, 150, 200),
        RegionKind::Pagekeeper | RegionKind::Kernel => Color::Rgb(128, 128, 128),
    }
}
