//! The documented step that installs the library: what it puts where, and that a program builds against it.

#[allow(dead_code, reason = "not every test needs all of it")]
mod libraries;
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::fs;
use std::process::Command;

use programs::{crate_folder, run};

#[test]
fn what_is_installed_can_be_used() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prefix = folder.path().join("usr");
    let installed = Command::new("sh")
        .arg(crate_folder().join("install.sh"))
        .env("PREFIX", &prefix)
        .env("BUILT", libraries::folder())
        .env_remove("DESTDIR")
        .env_remove("LIBDIR")
        .output()
        .expect("a shell");
    assert!(
        installed.status.success(),
        "{}",
        String::from_utf8_lossy(&installed.stderr)
    );
    let text = fs::read_to_string(prefix.join("lib/pkgconfig/pagekeeper-win32.pc")).expect("made");
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("Version: {version}\n")), "{text}");
    assert!(!text.contains('@'), "{text}");
    let major = version.split('.').next().expect("a number");
    let soname = prefix.join(format!("lib/libpagekeeper_win32.so.{major}"));
    assert!(soname.exists(), "{}", soname.display());
    // What pkg-config would say, so that the test needs none.
    let lib = prefix.join("lib");
    let binary = folder.path().join("first");
    let built = Command::new("cc")
        .arg(crate_folder().join("../../examples/c/first.c"))
        .arg("-I")
        .arg(prefix.join("include/pagekeeper"))
        .arg("-L")
        .arg(&lib)
        .arg("-lpagekeeper_win32")
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .arg("-o")
        .arg(&binary)
        .output()
        .expect("a compiler");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let (_, ended) = run(Command::new(&binary).env_remove("LD_LIBRARY_PATH"));
    assert_eq!(ended, None);
}
