//! The C side of the tests: compiling against the kept headers, linking with the libraries that cargo built for this test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs::crate_folder;

/// What every source must be clean under.
pub(crate) const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// How a program gets the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// `libpagekeeper_win32.so`
    Shared,
    /// `libpagekeeper_win32.a`
    Static,
}

/// Where cargo leaves both libraries when it builds a test of this crate: beside the test's own program. (A build of the
/// workspace copies them one folder up, which need not be as new.)
pub(crate) fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own program");
    let folder = test.parent().expect("a folder").to_owned();
    for name in ["libpagekeeper_win32.so", "libpagekeeper_win32.a"] {
        let library = folder.join(name);
        assert!(library.exists(), "{} is missing", library.display());
    }
    folder
}

/// Compiles one source; warnings are errors.
pub(crate) fn compile(compiler: &str, options: &[&str], source: &Path, object: &Path) {
    let built = Command::new(compiler)
        .args(options)
        .args(["-O1", "-g", "-c"])
        .args(WARNINGS)
        .arg("-I")
        .arg(crate_folder().join("include"))
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()
        .expect("a compiler");
    assert!(
        built.status.success(),
        "{}:\n{}",
        source.display(),
        String::from_utf8_lossy(&built.stderr)
    );
}

/// Links one object file.
pub(crate) fn link(compiler: &str, how: Link, object: &Path, binary: &Path) {
    let libraries = folder();
    let mut command = Command::new(compiler);
    command.arg(object).arg("-o").arg(binary).arg("-pthread");
    match how {
        Link::Shared => command
            .arg("-L")
            .arg(&libraries)
            .arg("-lpagekeeper_win32")
            .arg(format!("-Wl,-rpath,{}", libraries.display())),
        // What docs/porting.md says; without debugging information the program is small.
        Link::Static => command.arg(libraries.join("libpagekeeper_win32.a")).args([
            "-lm",
            "-ldl",
            "-Wl,--gc-sections",
            "-Wl,--strip-debug",
        ]),
    };
    let linked = command.output().expect("a linker");
    assert!(
        linked.status.success(),
        "{how:?} {}:\n{}",
        object.display(),
        String::from_utf8_lossy(&linked.stderr)
    );
}
