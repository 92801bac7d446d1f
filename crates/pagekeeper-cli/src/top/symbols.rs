//! Names of code: the function that holds an offset of a program or library.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};
use pagekeeper_sys::file::{FileSystem, FileSystemKind, open_regular};

/// Files larger than this are not read for a name.
const MOST_BYTES: u64 = 256 << 20;

/// One function.
#[derive(Debug)]
struct Function {
    start: u64,
    end: u64,
    name: String,
}

/// The functions of a file, by address, and where its segments lie.
#[derive(Debug, Default)]
struct Module {
    functions: Vec<Function>,
    /// File offset, length, address.
    segments: Vec<(u64, u64, u64)>,
}

/// Files that were read for their names.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    modules: HashMap<String, Module>,
}

impl Symbols {
    /// The function that holds byte `offset` of a file that process `pid` has mapped; `None` where the file has no names.
    pub(super) fn name(&mut self, pid: u32, module: &str, offset: u64) -> Option<String> {
        let found = self
            .modules
            .entry(module.to_owned())
            .or_insert_with(|| Module::read(pid, module).unwrap_or_default());
        found.name(offset)
    }
}

/// All bytes of an ordinary file, if they are not too many. The process that is looked at chose the name: behind it may lie
/// anything.
fn read(path: &Path) -> Option<Vec<u8>> {
    let is_here = |place: &FileSystem| place.kind != FileSystemKind::Remote;
    let file = open_regular(path, false, is_here).ok()?;
    let mut bytes = Vec::new();
    let most = MOST_BYTES + 1;
    File::from(file).take(most).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MOST_BYTES).then_some(bytes)
}

impl Module {
    /// Reads a file as the process sees it: it may have another root.
    fn read(pid: u32, module: &str) -> Option<Self> {
        if !module.starts_with('/') {
            return None;
        }
        let rooted = PathBuf::from(format!("/proc/{pid}/root{module}"));
        let path = if rooted.exists() {
            rooted
        } else {
            module.into()
        };
        let bytes = read(&path)?;
        let file = object::File::parse(&*bytes).ok()?;
        let mut functions: Vec<Function> = file
            .symbols()
            .chain(file.dynamic_symbols())
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                let name = rustc_demangle::demangle(symbol.name().ok()?);
                Some(Function {
                    start: symbol.address(),
                    end: symbol.address() + symbol.size().max(1),
                    // Without the hash behind it.
                    name: format!("{name:#}"),
                })
            })
            .collect();
        functions.sort_by_key(|function| function.start);
        let segments = file
            .segments()
            .map(|segment| {
                let (offset, length) = segment.file_range();
                (offset, length, segment.address())
            })
            .collect();
        Some(Self {
            functions,
            segments,
        })
    }

    fn name(&self, offset: u64) -> Option<String> {
        let (start, _, address) = self
            .segments
            .iter()
            .find(|(start, length, _)| (*start..start + length).contains(&offset))?;
        let at = address + (offset - start);
        let behind = self
            .functions
            .partition_point(|function| function.start <= at);
        let function = self.functions.get(behind.checked_sub(1)?)?;
        (at < function.end).then(|| function.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let mut symbols = Symbols::default();
        for path in [&pipe, &link] {
            let name = path.to_str().unwrap();
            assert_eq!(symbols.name(std::process::id(), name, 0), None);
        }
        // What is read as it is, without an end.
        assert!(read(Path::new("/proc/self/mem")).is_none());
    }

    #[test]
    fn the_own_code_has_a_name() {
        let pid = std::process::id();
        let code = the_own_code_has_a_name as *const () as u64;
        let mut observer = pagekeeper::monitor::Observer::of(pid).unwrap();
        let snapshot = observer.snapshot().unwrap();
        let region = snapshot.region_at(code).unwrap();
        let offset = code - region.base + region.file_offset;
        let mut symbols = Symbols::default();
        let name = symbols.name(pid, &region.name, offset).unwrap();
        assert!(name.contains("the_own_code_has_a_name"), "{name}");
        assert_eq!(symbols.name(pid, "[vdso]", 0), None);
        assert_eq!(symbols.name(pid, "/no/such/file", 0), None);
    }
}
