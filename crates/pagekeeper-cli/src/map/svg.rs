//! The ribbon as a picture that stands still, with totals and a legend; light or dark as the reader's desktop is.

use std::fmt::Write as _;

use pagekeeper::monitor::{Region, RegionKind, Snapshot, Source, Whereabouts};

use super::blocks::{CHARACTER, Layers, MARGIN, ROW};
use super::layout::{self, Band};
use crate::picture::{KINDS, PAGE, PLACES, colour_of, escaped};
use crate::terminal::{count, size};

const WIDTH: f64 = 1200.0;
const ACROSS: f64 = WIDTH - 2.0 * MARGIN;
const HEADING: f64 = 28.0;
/// Notes that a viewer shows under the pointer cost an element each.
const MOST_TITLES: usize = 3_000;

/// `currentColor` is no help in pictures that a page embeds: both looks are spelt out.
const STYLE: &str = "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:13px;fill:#1b1f24}\
    .small{font-size:11px}.faint{fill:#59636e}.bold{font-weight:600}.ground{fill:#fff}.line{stroke:#d8dde3}.tick{fill:#59636e}\
    @media(prefers-color-scheme:dark){text{fill:#e6e9ed}.faint{fill:#a3adb8}.ground{fill:#14171b}.line{stroke:#363d46}.untouched{fill:#4a525c}.tick{fill:#a3adb8}}";

/// The picture.
pub(super) fn draw(snapshot: &Snapshot) -> String {
    let mut picture = Picture {
        body: String::new(),
        y: MARGIN,
    };
    picture.title(snapshot);
    picture.compositions(snapshot);
    picture.legend(snapshot);
    for band in layout::bands(&snapshot.regions, ACROSS) {
        picture.band(&band, snapshot.regions.len() <= MOST_TITLES);
    }
    picture.totals(snapshot);
    let height = picture.y + MARGIN;
    let title = escaped(&format!(
        "{} {}: address space",
        snapshot.name, snapshot.pid
    ));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{}\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
        hatches(),
        picture.body
    )
}

fn hatches() -> String {
    let pattern = |(name, colour): (&str, &str)| {
        format!(
            "<pattern id=\"hatch-{name}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect width=\"1.1\" height=\"6\" fill=\"{colour}\" fill-opacity=\"0.6\"/></pattern>"
        )
    };
    let all: String = KINDS
        .iter()
        .map(|entry| pattern((entry.kind.name(), entry.colour)))
        .chain([pattern(("any", "#7a7a7a"))])
        .collect();
    format!("<defs>{all}</defs>\n")
}

struct Picture {
    body: String,
    y: f64,
}

impl Picture {
    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>"
        );
    }

    fn right(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"end\">{text}</text>"
        );
    }

    fn title(&mut self, snapshot: &Snapshot) {
        let name = format!("{} · process {}", snapshot.name, snapshot.pid);
        let _ = writeln!(
            self.body,
            "<text x=\"{MARGIN}\" y=\"{:.1}\" class=\"bold\" style=\"font-size:19px\">{}</text>",
            self.y + 16.0,
            escaped(&name)
        );
        let told = match snapshot.source {
            Source::Pagekeeper => "told by the process itself",
            Source::Proc => "told by the kernel",
        };
        self.right(WIDTH - MARGIN, self.y + 16.0, "faint", told);
        let command = shortened(&snapshot.command, (ACROSS / 7.4) as usize);
        self.text(MARGIN, self.y + 36.0, "faint", &command);
        self.y += 52.0;
    }

    /// Three bars, each at its own scale: what is reserved, committed and resident, by kind.
    fn compositions(&mut self, snapshot: &Snapshot) {
        type Part = fn(&(u64, u64, Whereabouts)) -> u64;
        let parts: [(&str, Part); 3] = [
            ("Reserved", |sum| sum.0),
            ("Committed", |sum| sum.1),
            ("Resident", |sum| sum.2.resident * PAGE),
        ];
        for (name, part) in parts {
            let sums: Vec<(RegionKind, u64)> = KINDS
                .iter()
                .map(|entry| (entry.kind, part(&snapshot.sum_of(entry.kind))))
                .collect();
            let whole: u64 = sums.iter().map(|(_, bytes)| bytes).sum();
            self.text(MARGIN, self.y + 14.0, "bold", name);
            self.right(MARGIN + 170.0, self.y + 14.0, "", &size(whole));
            let (mut x, across) = (MARGIN + 186.0, ACROSS - 186.0);
            for (kind, bytes) in sums {
                let width = across * bytes as f64 / whole.max(1) as f64;
                if width < 0.05 {
                    continue;
                }
                let colour = colour_of(kind);
                let _ = writeln!(
                    self.body,
                    "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\"><title>{} {}</title></rect>",
                    self.y + 2.0,
                    kind.name(),
                    size(bytes)
                );
                x += width;
            }
            self.y += 24.0;
        }
        self.y += 6.0;
    }

    fn legend(&mut self, snapshot: &Snapshot) {
        let mut x = MARGIN;
        let y = self.y;
        for (fill, opacity, name) in [
            ("url(#hatch-any)", "1", "reserved"),
            ("#7a7a7a", "0.32", "committed (height: its share)"),
            ("#7a7a7a", "1", "resident (height: its share)"),
        ] {
            let _ = writeln!(
                self.body,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"14\" height=\"11\" fill=\"{fill}\" fill-opacity=\"{opacity}\" \
                 stroke=\"#7a7a7a\" stroke-width=\"0.7\"/>",
                y + 1.0
            );
            self.text(x + 19.0, y + 11.0, "small", name);
            x += 34.0 + name.len() as f64 * CHARACTER;
        }
        self.right(
            WIDTH - MARGIN,
            y + 11.0,
            "small faint",
            "width: fourth root of the size",
        );
        let seen = |kind| snapshot.regions.iter().any(|region| region.kind == kind);
        let kinds = KINDS.iter().filter(|entry| seen(entry.kind));
        self.entries(kinds.map(|entry| (entry.colour, entry.kind.name())), 11.0);
        let mut all = Whereabouts::default();
        for region in &snapshot.regions {
            all.add(&region.pages);
        }
        let places = PLACES.iter().filter(|place| (place.pages)(&all) > 0);
        self.entries(places.map(|place| (place.colour, place.name)), 5.0);
        self.y += 30.0;
    }

    /// A line of the legend: a mark of this height and a word each.
    fn entries<'a>(&mut self, entries: impl Iterator<Item = (&'a str, &'a str)>, height: f64) {
        self.y += 18.0;
        let mut x = MARGIN;
        let (what, y) = (if height > 8.0 { "Colour" } else { "Line below" }, self.y);
        self.text(x, y + 11.0, "small bold", what);
        x += 76.0;
        for (colour, name) in entries {
            let top = y + 1.0 + (11.0 - height) / 2.0;
            let _ = writeln!(
                self.body,
                "<rect class=\"{name}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"14\" height=\"{height}\" fill=\"{colour}\"/>"
            );
            self.text(x + 19.0, y + 11.0, "small", name);
            x += 36.0 + name.len() as f64 * CHARACTER;
        }
    }

    fn band(&mut self, band: &Band<'_>, titles: bool) {
        let (Some(first), Some(last)) = (band.regions.first(), band.regions.last()) else {
            return;
        };
        if band.free_below > 0 {
            let y = self.y + 2.0;
            let _ = writeln!(
                self.body,
                "<path class=\"line\" d=\"M{MARGIN} {y:.1}H{:.1}\" stroke-dasharray=\"2 4\"/>",
                WIDTH - MARGIN
            );
        }
        let sum = |figure: fn(&Region) -> u64| size(band.regions.iter().map(figure).sum());
        let heading = format!("{:#x} – {:#x}", first.base, last.end());
        self.text(MARGIN, self.y + 20.0, "bold", &heading);
        let mut more = format!(
            "{} reserved, {} committed, {} resident, {} {}",
            sum(|region| region.size_bytes),
            sum(|region| region.committed_bytes),
            sum(|region| region.pages.resident * PAGE),
            count(band.regions.len() as u64),
            if band.regions.len() == 1 {
                "region"
            } else {
                "regions"
            }
        );
        if band.free_below > 0 {
            let _ = write!(more, " · after {} of free space", size(band.free_below));
        }
        self.right(WIDTH - MARGIN, self.y + 20.0, "faint", &more);
        self.y += HEADING;
        let mut layers = Layers::default();
        for row in &band.rows {
            for piece in row {
                layers.piece(piece, self.y, titles);
            }
            self.y += ROW;
        }
        layers.write(&mut self.body);
    }

    fn totals(&mut self, snapshot: &Snapshot) {
        self.y += 10.0;
        self.text(MARGIN, self.y + 14.0, "bold", "Totals");
        self.y += 24.0;
        let sums: Vec<(RegionKind, u64, (u64, u64, Whereabouts))> = KINDS
            .iter()
            .map(|entry| {
                let regions = snapshot
                    .regions
                    .iter()
                    .filter(|region| region.kind == entry.kind);
                (
                    entry.kind,
                    regions.count() as u64,
                    snapshot.sum_of(entry.kind),
                )
            })
            .filter(|(_, regions, _)| *regions > 0)
            .collect();
        let mut all = (0, 0, 0, Whereabouts::default());
        for (_, regions, (reserved, committed, pages)) in &sums {
            all = (all.0 + regions, all.1 + reserved, all.2 + committed, all.3);
            all.3.add(pages);
        }
        let shown: Vec<usize> = (0..PLACES.len())
            .filter(|&place| (PLACES[place].pages)(&all.3) > 0)
            .collect();
        let head = ["regions", "reserved", "committed"]
            .into_iter()
            .chain(shown.iter().map(|&place| PLACES[place].name));
        self.row(
            "",
            None,
            &head.map(str::to_owned).collect::<Vec<_>>(),
            "small faint",
        );
        let figures =
            |regions: u64, reserved: u64, committed: u64, pages: &Whereabouts| -> Vec<String> {
                let place = |&place: &usize| (PLACES[place].pages)(pages) * PAGE;
                [count(regions), size(reserved), dash(committed)]
                    .into_iter()
                    .chain(shown.iter().map(place).map(dash))
                    .collect()
            };
        for (kind, regions, (reserved, committed, pages)) in &sums {
            let cells = figures(*regions, *reserved, *committed, pages);
            self.row(kind.name(), Some(colour_of(*kind)), &cells, "");
        }
        self.row("total", None, &figures(all.0, all.1, all.2, &all.3), "bold");
    }

    fn row(&mut self, name: &str, colour: Option<&str>, cells: &[String], class: &str) {
        let y = self.y;
        if let Some(colour) = colour {
            let _ = writeln!(
                self.body,
                "<rect x=\"{MARGIN}\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{colour}\"/>",
                y + 3.0
            );
        }
        self.text(MARGIN + 18.0, y + 13.0, class, name);
        for (index, cell) in cells.iter().enumerate() {
            let x = MARGIN + 200.0 + index as f64 * 94.0;
            self.right(x, y + 13.0, class, cell);
        }
        let _ = writeln!(
            self.body,
            "<path class=\"line\" d=\"M{MARGIN} {:.1}H{:.1}\"/>",
            y + 19.0,
            WIDTH - MARGIN
        );
        self.y += 21.0;
    }
}

fn dash(bytes: u64) -> String {
    if bytes == 0 {
        "–".to_owned()
    } else {
        size(bytes)
    }
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use pagekeeper::monitor::RegionUse;

    use super::*;

    fn process(regions: Vec<Region>) -> Snapshot {
        Snapshot {
            name: "a<b>&\u{1}".to_owned(),
            command: "x".repeat(5_000),
            regions,
            ..Snapshot::default()
        }
    }

    /// Regions of every kind and use, with pages in every place.
    fn variety(count: u64) -> Vec<Region> {
        let region = |i: u64| Region {
            base: (i << 20) + if i > count / 2 { 1 << 40 } else { 0 },
            size_bytes: 0x1000 << (i % 8),
            usage: if i.is_multiple_of(3) {
                RegionUse::Reserved
            } else {
                RegionUse::Committed
            },
            kind: RegionKind::ALL[i as usize % 9],
            name: format!("/tmp/<{i}>\"&"),
            committed_bytes: if i.is_multiple_of(3) {
                0
            } else {
                0x1000 << (i % 8)
            },
            pages: Whereabouts {
                resident: 1,
                lost: i % 2,
                ..Whereabouts::default()
            },
            heat: vec![(i % 256) as u8; (1 << (i % 8)).min(32)],
            ..Region::default()
        };
        (1..=count).map(region).collect()
    }

    #[test]
    fn a_picture_is_well_formed_whatever_names_there_are() {
        for regions in [vec![], variety(1), variety(500)] {
            let picture = draw(&process(regions));
            let document = roxmltree::Document::parse(&picture).expect("well-formed");
            assert!(
                document
                    .root_element()
                    .has_tag_name(("http://www.w3.org/2000/svg", "svg"))
            );
            let outside = |node: roxmltree::Node<'_, '_>| {
                node.attributes().any(|one| one.value().contains("://"))
            };
            assert!(!document.descendants().any(outside));
        }
    }

    #[test]
    fn ten_thousand_regions_are_a_picture_that_opens() {
        let picture = draw(&process(variety(10_000)));
        let document = roxmltree::Document::parse(&picture).expect("well-formed");
        let elements = document
            .descendants()
            .filter(roxmltree::Node::is_element)
            .count();
        assert!(elements < 5_000, "{elements} elements");
        let texts: Vec<&str> = document
            .descendants()
            .filter_map(|node| node.text())
            .collect();
        assert!(
            texts.contains(&"10,000"),
            "the number of regions is in the table"
        );
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let picture = draw(&process(variety(500)));
        let document = roxmltree::Document::parse(&picture).expect("well-formed");
        let height: f64 = document
            .root_element()
            .attribute("height")
            .unwrap()
            .parse()
            .unwrap();
        let number = |node: &roxmltree::Node<'_, '_>, name: &str| {
            node.attribute(name)
                .and_then(|value| value.parse::<f64>().ok())
        };
        for node in document
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect")))
        {
            let (Some(x), Some(y), Some(width)) = (
                number(&node, "x"),
                number(&node, "y"),
                number(&node, "width"),
            ) else {
                continue;
            };
            assert!(
                x >= 0.0 && x + width <= WIDTH + 0.1 && y <= height,
                "{node:?}"
            );
        }
    }
}
