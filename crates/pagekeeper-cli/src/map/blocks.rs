//! Blocks of the ribbon in a picture that stands still: all blocks of one kind are one path, so that ten thousand regions are a
//! picture that every viewer opens.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pagekeeper::monitor::{Region, RegionKind};

use super::layout::Piece;
use crate::picture::{PAGE, PLACES, colour_of, escaped};
use crate::terminal::size;

const LABEL: f64 = 13.0;
const BLOCK: f64 = 26.0;
const STRIP: f64 = 4.0;
pub(super) const ROW: f64 = LABEL + BLOCK + STRIP + 9.0;
pub(super) const MARGIN: f64 = 24.0;
/// Roughly, of the font at 11 pixels.
pub(super) const CHARACTER: f64 = 6.1;

/// Blocks of a band, layer by layer, as paths.
#[derive(Default)]
pub(super) struct Layers {
    reserved: BTreeMap<RegionKind, String>,
    committed: BTreeMap<RegionKind, String>,
    resident: BTreeMap<RegionKind, String>,
    places: BTreeMap<usize, String>,
    ticks: String,
    texts: String,
    titles: String,
}

fn rect(path: &mut String, x: f64, y: f64, width: f64, height: f64) {
    // A string takes all that is written to it.
    let _ = write!(path, "M{x:.1} {y:.1}h{width:.1}v{height:.1}h-{width:.1}z");
}

impl Layers {
    pub(super) fn piece(&mut self, piece: &Piece<'_>, y: f64, titles: bool) {
        let x = MARGIN + piece.x;
        let top = y + LABEL;
        let Some(region) = piece.region else {
            rect(
                &mut self.ticks,
                x + piece.width / 2.0 - 0.5,
                top + 10.0,
                1.0,
                6.0,
            );
            return;
        };
        let width = if piece.width > 4.0 {
            piece.width - 1.0
        } else {
            piece.width
        };
        let kind = region.kind;
        if region.committed_bytes < region.size_bytes {
            rect(self.reserved.entry(kind).or_default(), x, top, width, BLOCK);
        }
        if region.committed_bytes > 0 {
            let share = (region.committed_bytes as f64 / region.size_bytes as f64).max(0.08);
            let height = BLOCK * share;
            rect(
                self.committed.entry(kind).or_default(),
                x,
                top + BLOCK - height,
                width,
                height,
            );
        }
        heat(self.resident.entry(kind).or_default(), piece, x, top, width);
        self.strip(piece, region, x, top + BLOCK + 1.0, width);
        if piece.from == 0.0 && width > 34.0 {
            self.label(region, x, y + 10.0, width);
        }
        if titles {
            let said = escaped(&format!(
                "{} {:#x} {}, {} committed, {} resident",
                if region.name.is_empty() {
                    kind.name()
                } else {
                    &region.name
                },
                region.base,
                size(region.size_bytes),
                size(region.committed_bytes),
                size(region.pages.resident * PAGE)
            ));
            let _ = writeln!(
                self.titles,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BLOCK}\"><title>{said}</title></rect>"
            );
        }
    }

    /// Where the committed pages are, side by side.
    fn strip(&mut self, piece: &Piece<'_>, region: &Region, x: f64, y: f64, width: f64) {
        let total = region.pages.total().max(1) as f64;
        let mut at = 0.0;
        for (index, place) in PLACES.iter().enumerate() {
            let share = (place.pages)(&region.pages) as f64 / total;
            let (left, right) = (f64::max(at, piece.from), f64::min(at + share, piece.to));
            at += share;
            let part = (right - left) / (piece.to - piece.from) * width;
            if part > 0.05 {
                let begin = x + (left - piece.from) / (piece.to - piece.from) * width;
                rect(self.places.entry(index).or_default(), begin, y, part, STRIP);
            }
        }
    }

    fn label(&mut self, region: &Region, x: f64, y: f64, width: f64) {
        let name = match region.name.rsplit('/').next() {
            Some(name) if !name.is_empty() => name,
            _ if !region.engine.is_empty() => &region.engine,
            _ => region.kind.name(),
        };
        let room = (width / CHARACTER) as usize;
        let long = format!("{name} {}", size(region.size_bytes));
        let said = if long.chars().count() <= room {
            long
        } else {
            size(region.size_bytes)
        };
        if said.chars().count() <= room {
            let _ = writeln!(
                self.texts,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"small\">{}</text>",
                escaped(&said)
            );
        }
    }

    pub(super) fn write(&self, body: &mut String) {
        for (kind, path) in &self.reserved {
            let (name, colour) = (kind.name(), colour_of(*kind));
            let _ = writeln!(
                body,
                "<path d=\"{path}\" fill=\"url(#hatch-{name})\" stroke=\"{colour}\" stroke-width=\"0.6\"/>"
            );
        }
        for (layer, opacity) in [(&self.committed, "0.32"), (&self.resident, "1")] {
            for (kind, path) in layer.iter().filter(|(_, path)| !path.is_empty()) {
                let colour = colour_of(*kind);
                let _ = writeln!(
                    body,
                    "<path shape-rendering=\"crispEdges\" d=\"{path}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
                );
            }
        }
        for (index, path) in &self.places {
            let _ = writeln!(
                body,
                "<path class=\"{}\" d=\"{path}\" fill=\"{}\"/>",
                PLACES[*index].field, PLACES[*index].colour
            );
        }
        let _ = writeln!(body, "<path class=\"tick\" d=\"{}\"/>", self.ticks);
        body.push_str(&self.texts);
        let _ = writeln!(body, "<g fill-opacity=\"0\">{}</g>", self.titles);
    }
}

/// Cells as high as the share of them that is resident; cells that share a pixel are drawn as one.
fn heat(path: &mut String, piece: &Piece<'_>, x: f64, top: f64, width: f64) {
    let Some(heat) = piece
        .region
        .map(|region| &region.heat)
        .filter(|heat| !heat.is_empty())
    else {
        return;
    };
    let length = piece.to - piece.from;
    let cells = heat.len() as f64;
    let columns = (cells * length).ceil().min(width.ceil()).max(1.0);
    for column in 0..columns as usize {
        let begin = piece.from + length * column as f64 / columns;
        let end = piece.from + length * (column + 1) as f64 / columns;
        let inside = (begin * cells) as usize..((end * cells).ceil() as usize).min(heat.len());
        let Some(seen) = heat.get(inside).filter(|seen| !seen.is_empty()) else {
            continue;
        };
        let mean = seen.iter().map(|&value| f64::from(value)).sum::<f64>() / seen.len() as f64;
        if mean > 0.0 {
            let height = (BLOCK * mean / 255.0).max(1.5);
            let left = x + width * column as f64 / columns;
            rect(path, left, top + BLOCK - height, width / columns, height);
        }
    }
}
