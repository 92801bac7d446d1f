//! `pagekeeper.h`: the structures are those of the Rust side, and a C program looks at itself and at others with every engine, linked both
//! ways.

#[allow(dead_code, reason = "not every test needs all of it")]
mod libraries;
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use libraries::{Link, compile, link};
use pagekeeper::monitor::RegionKind;
use programs::{crate_folder, run};

/// A structure's size, and its fields with their offsets.
macro_rules! layout {
    ($text:ident, $name:ident: $($field:ident),+ $(,)?) => {
        let _ = writeln!($text, "SAME(sizeof({}), {});", stringify!($name), size_of::<pagekeeper_win32::snapshot::$name>());
        $(
            let offset = core::mem::offset_of!(pagekeeper_win32::snapshot::$name, $field);
            let _ = writeln!($text, "SAME(offsetof({}, {}), {offset});", stringify!($name), stringify!($field));
        )+
    };
}

#[test]
fn header_and_library_agree() {
    let mut text = String::from(
        "#include <pagekeeper.h>\n#ifdef __cplusplus\n#define SAME(a, b) static_assert((a) == (b), #a)\n#else\n\
         #define SAME(a, b) _Static_assert((a) == (b), #a)\n#endif\n",
    );
    for (number, kind) in RegionKind::ALL.iter().enumerate() {
        let name = format!("{kind:?}").to_uppercase();
        let _ = writeln!(text, "SAME(PAGEKEEPER_KIND_{name}, {number}u);");
    }
    layout!(text, PAGEKEEPER_PAGES: resident, modified, standby, compressed, page_file, swapped, untouched, lost);
    layout!(text, PAGEKEEPER_TOTALS: reserved_bytes, committed_bytes, private_bytes, shared_bytes, working_set_bytes,
        working_set_private_bytes, working_set_shared_bytes, modified_bytes, standby_bytes, compressed_bytes,
        page_file_bytes, swapped_bytes, pool_bytes, locked_bytes, budget_bytes, overhead_bytes, commit_charge_bytes,
        commit_limit_bytes, commit_peak_bytes, page_file_allocated_bytes, page_file_maximum_bytes, page_table_bytes);
    layout!(text, PAGEKEEPER_COUNTERS: soft_faults, hard_faults, zero_faults, transition_faults, pool_faults, bytes_in,
        bytes_out, clean_drops, packed_in_place, lost, refused, process_minor_faults, process_major_faults);
    layout!(text, PAGEKEEPER_ENGINE: space, engine, budget_bytes, resident_bytes, modified_bytes, standby_bytes,
        compressed_bytes, pool_bytes, page_file_bytes, peak_bytes, is_sampled);
    layout!(text, PAGEKEEPER_REGION: base, size_bytes, allocation_base, allocation_protection, protection, usage, kind,
        is_shared, is_sampled, engine, name, file_offset, committed_bytes, pages, heat, heat_count);
    layout!(text, PAGEKEEPER_FAULT_SITE: address, faults, module, offset);
    layout!(text, PAGEKEEPER_SNAPSHOT: taken_at_ms, age_ms, pid, user, is_pagekeeper, is_residence_sampled,
        are_faults_sampled, name, command, totals, counters, regions, region_count, engines, engine_count, latency,
        latency_count, fault_sites, fault_site_count, notes, note_count);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (compiler, ending, standard) in [("cc", "c", "-std=c11"), ("c++", "cpp", "-std=c++17")] {
        let source = folder.path().join(format!("same.{ending}"));
        fs::write(&source, &text).expect("written");
        let object = folder.path().join("same.o");
        compile(compiler, &[standard], &source, &object);
    }
}

#[test]
fn a_program_looks_at_itself_and_at_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = crate_folder().join("tests/own/snapshot.c");
    let object = folder.path().join("snapshot.o");
    compile("cc", &["-std=c11", "-D_GNU_SOURCE"], &source, &object);
    for how in [Link::Shared, Link::Static] {
        let binary = folder.path().join("snapshot");
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
