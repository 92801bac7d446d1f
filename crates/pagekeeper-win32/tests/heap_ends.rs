//! `HeapEnableTerminationOnCorruption` in C: how a program ends that gives a heap a wrong pointer, with every engine, linked both ways.

#[allow(dead_code, reason = "not every test needs all of it")]
mod libraries;
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::process::Command;

use libraries::{Link, compile, link};
use programs::{crate_folder, run};

#[test]
fn a_wrong_pointer_ends_a_program_that_asked_for_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = crate_folder().join("tests/own/heap_ends.c");
    let object = folder.path().join("heap_ends.o");
    compile("cc", &["-std=c11", "-D_GNU_SOURCE"], &source, &object);
    for how in [Link::Shared, Link::Static] {
        let binary = folder.path().join("heap_ends");
        link("cc", how, &object, &binary);
        for engine in ["mapped", "inline", "resident"] {
            let mut command = Command::new(&binary);
            command
                .env_clear()
                .envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "TMPDIR"))
                .env("PAGEKEEPER_ENGINE", engine)
                .current_dir(folder.path());
            let (printed, ended) = run(&mut command);
            assert_eq!(ended, None, "{how:?} {engine}: {printed:?}");
            assert_eq!(printed, ["done"], "{how:?} {engine}");
        }
    }
}
