//! `pagekeeper map`: the whole address space of a process as a picture.
//!
//! | module | what |
//! |---|---|
//! | [`take`] | a snapshot, or a recording of several seconds |
//! | [`layout`] | the address space as a ribbon that wraps like text |
//! | [`svg`], [`blocks`] | the ribbon as a picture that stands still |
//! | [`text`] | the same for a terminal |
//! | [`compare`] | what differs between two snapshots |
//! | [`output`] | the file that it is written to |
//!
//! The HTML page is put together in [`crate::picture`], which the live page shares.

mod blocks;
mod compare;
mod layout;
mod output;
mod svg;
mod take;
mod text;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use self::output::Output;
use crate::failure::Failure;
use crate::picture::{self, Body, Document};
use crate::terminal;

/// The longest recording: what it keeps is in memory until it is written.
const MOST_SECONDS: u64 = 86_400;

/// Options of `map`.
#[derive(Args, Debug)]
#[command(
    long_about = "Shows the whole address space of a process: what is reserved, committed and resident, kind by kind and \
                  region by region. For a process that uses Pagekeeper also what is modified, standby, compressed and in the \
                  page file; any other process of the same user is looked at through /proc. Stops nothing.\n\n\
                  Without -o it prints text. The ending of -o chooses the form: .svg a picture, .html a page of one file \
                  to look into (zoom, search, sums, recordings to play), .json the figures, .txt the text.",
    after_help = "Examples:\n  pagekeeper map 1234\n  pagekeeper map 1234 -o map.html\n  \
                  pagekeeper map 1234 --record 60 -o minute.html\n  \
                  pagekeeper map 1234 -o before.json; ...; pagekeeper map 1234 -o after.json\n  \
                  pagekeeper map --compare before.json after.json\n\n\
                  Exit codes: 0 all is well; 1 the process ended meanwhile, or the file cannot be written;\n\
                  2 wrong use, no such process, or no permission."
)]
pub(crate) struct MapOptions {
    /// The process; a thread's number will not do
    #[arg(required_unless_present_any = ["compare"], conflicts_with = "compare")]
    pid: Option<u32>,
    /// Write to FILE.svg, .html, .json or .txt instead of printing text
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Look again and again for SECONDS; .html plays it, .json keeps it
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    record: Option<u64>,
    /// Seconds between two looks of a recording
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval, requires = "record")]
    every: f64,
    /// Show what differs between two files written with -o FILE.json; of a recording the last moment counts
    #[arg(long, num_args = 2, value_names = ["BEFORE.json", "AFTER.json"], conflicts_with = "record")]
    compare: Option<Vec<PathBuf>>,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.1 to 3600".to_owned()),
    }
}

/// What a map is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Svg,
    Html,
    Json,
    Text,
}

impl Form {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("html" | "htm") => Ok(Self::Html),
            Some("json") => Ok(Self::Json),
            Some("txt") => Ok(Self::Text),
            _ => Err(Failure::Usage(format!(
                "{}: its ending says nothing: .svg, .html, .json or .txt",
                path.display()
            ))),
        }
    }
}

/// What the HTML page is given.
#[derive(Serialize)]
struct PageData<'a> {
    document: &'a Document,
    /// Names of the two files of a comparison.
    names: Option<[String; 2]>,
}

/// Makes the map and writes it.
pub(crate) fn run(options: &MapOptions) -> Result<(), Failure> {
    let form = options.output.as_deref().map_or(Ok(Form::Text), Form::of)?;
    // Before a recording of an hour rather than behind it.
    let output = options.output.as_deref().map(Output::begin).transpose()?;
    let written = match (&options.compare, options.pid) {
        (Some(files), _) => compared(files, form)?,
        (None, Some(pid)) => {
            if options.record.is_some() && !matches!(form, Form::Html | Form::Json) {
                return Err(Failure::Usage(
                    "--record needs a file that can keep several moments: -o FILE.html or -o FILE.json"
                        .to_owned(),
                ));
            }
            let document = take::document(pid, options.record, options.every)?;
            mapped(&document, form, options.output.is_none())?
        }
        (None, None) => return Err(Failure::Usage("give a process; see --help".to_owned())),
    };
    match output {
        None => {
            terminal::print(&written);
            Ok(())
        }
        Some(output) => output.finish(&written),
    }
}

fn mapped(document: &Document, form: Form, narrow: bool) -> Result<String, Failure> {
    match form {
        Form::Json => document.to_json(),
        Form::Svg => Ok(svg::draw(&document.snapshot)),
        Form::Text => Ok(text::map(&document.snapshot, narrow)),
        Form::Html => {
            let snapshot = &document.snapshot;
            let title = format!("{} {} – memory map", snapshot.name, snapshot.pid);
            let names = None;
            picture::html(Body::Map, &title, &PageData { document, names })
        }
    }
}

fn compared(files: &[PathBuf], form: Form) -> Result<String, Failure> {
    let [before, after] = files else {
        return Err(Failure::Usage("--compare needs two files".to_owned()));
    };
    let name = |path: &Path| path.display().to_string();
    let (first, second) = (
        Document::read(before)?.last(),
        Document::read(after)?.last(),
    );
    match form {
        Form::Text => Ok(compare::text(
            &first,
            &second,
            [&name(before), &name(after)],
        )),
        Form::Json => compare::json(&first, &second),
        Form::Html => {
            let mut document = Document::of(first.clone());
            document.add(&first, &second);
            let names = Some([name(before), name(after)]);
            let title = format!("{} and {} – memory maps", name(before), name(after));
            let data = PageData {
                document: &document,
                names,
            };
            picture::html(Body::Map, &title, &data)
        }
        Form::Svg => Err(Failure::Usage(
            "--compare writes text, .html and .json; draw each snapshot as .svg when you make it"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_chooses() {
        assert_eq!(Form::of(Path::new("a/b.svg")).unwrap(), Form::Svg);
        assert_eq!(Form::of(Path::new("b.html")).unwrap(), Form::Html);
        for bad in ["b", "b.png", ".svg"] {
            assert!(Form::of(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(interval("0.5"), Ok(0.5));
        for bad in ["0", "-1", "nan", "inf", "x", "4000"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
