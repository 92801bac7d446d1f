//! A snapshot or a recording as a file: JSON with a version. `docs/monitor.md` describes it.

use std::fs;
use std::path::Path;

use pagekeeper::monitor::Snapshot;
use serde::{Deserialize, Serialize};

use super::change::Later;
use crate::failure::Failure;

/// What the file says of itself.
const FORMAT: &str = "pagekeeper-map";

/// Raised when a field goes away or changes its meaning; new fields alone do not raise it.
const VERSION: u32 = 1;

/// A process at one moment, or at several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    format: String,
    version: u32,
    /// The program that wrote it.
    written_by: String,
    /// The process at the first moment, with its regions.
    pub(crate) snapshot: Snapshot,
    /// Later moments of a recording, each as what changed since the one before; otherwise empty.
    #[serde(default)]
    pub(crate) later: Vec<Later>,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl Document {
    /// One moment.
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            written_by: concat!("pagekeeper ", env!("CARGO_PKG_VERSION")).to_owned(),
            snapshot,
            later: Vec::new(),
        }
    }

    /// The last moment.
    pub(crate) fn last(&self) -> Snapshot {
        let first = self.snapshot.clone();
        let step = |before: Snapshot, later: &Later| later.apply(&before.regions);
        self.later.iter().fold(first, step)
    }

    /// Adds the moment behind `before`, which is the last one so far.
    pub(crate) fn add(&mut self, before: &Snapshot, now: &Snapshot) {
        self.later.push(Later::between(&before.regions, now));
    }

    /// As text.
    ///
    /// # Errors
    /// [`Failure::Broken`] for figures that JSON does not have, which there are none of.
    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string(self)
            .map(|text| text + "\n")
            .map_err(|error| Failure::Broken(format!("cannot write JSON: {error}")))
    }

    /// Reads a file back.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a file that cannot be read, is something else, or is of a version that is not known here.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let head: Head = serde_json::from_str(&text).map_err(|error| {
            wrong(format!(
                "not a file that 'pagekeeper map -o FILE.json' wrote ({error})"
            ))
        })?;
        if head.format != FORMAT {
            let said = head.format;
            return Err(wrong(format!(
                "its format is '{said}', not '{FORMAT}': give a file that 'pagekeeper map -o FILE.json' wrote"
            )));
        }
        if head.version != VERSION {
            return Err(wrong(format!(
                "version {} of the format; this program reads version {VERSION}",
                head.version
            )));
        }
        serde_json::from_str(&text).map_err(|error| wrong(format!("damaged ({error})")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use pagekeeper::monitor::Region;

    use super::*;

    fn document() -> Document {
        let region = |base| Region {
            base,
            size_bytes: 0x1000,
            ..Region::default()
        };
        let mut document = Document::of(Snapshot {
            regions: vec![region(0x1000)],
            ..Snapshot::default()
        });
        let after = Snapshot {
            regions: vec![region(0x1000), region(0x4000)],
            ..Snapshot::default()
        };
        let before = document.snapshot.clone();
        document.add(&before, &after);
        document
    }

    fn read(text: &str) -> Result<Document, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Document::read(file.path()).map_err(|failure| failure.message().unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        let written = document();
        let back = read(&written.to_json().unwrap()).unwrap();
        assert_eq!(back, written);
        assert_eq!(back.last().regions.len(), 2);
    }

    #[test]
    fn other_files_are_refused_with_a_reason() {
        assert!(read("{").unwrap_err().contains("not a file that"));
        let other = r#"{"format":"x","version":1}"#;
        assert!(read(other).unwrap_err().contains("its format is 'x'"));
        let newer = r#"{"format":"pagekeeper-map","version":99}"#;
        assert!(read(newer).unwrap_err().contains("version 99"));
        let cut = r#"{"format":"pagekeeper-map","version":1}"#;
        assert!(read(cut).unwrap_err().contains("damaged"));
        let missing = Document::read(Path::new("/nonexistent/x.json")).unwrap_err();
        assert!(missing.message().unwrap().contains("/nonexistent/x.json"));
    }
}
