//! Walks the table of wrapped functions: each works on arguments that are out of memory, and each is really exported.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls libc's functions with pointers, which is what is tested"
)]

mod support;
#[macro_use]
mod touch_support;
mod touch_cases;

use std::collections::BTreeMap;
use std::ffi::CString;

use pagekeeper::kernel_touches;

use touch_cases::Case;
use touch_support::Paged;

fn cases() -> BTreeMap<&'static str, Case> {
    let mut map = BTreeMap::new();
    for (name, case) in touch_cases::all() {
        assert!(map.insert(name, case).is_none(), "two cases for {name}");
    }
    map
}

#[test]
fn every_function_of_the_table_works_on_arguments_that_are_out() {
    if !support::inline_works() {
        return;
    }
    let cases = cases();
    let mut paged = Paged::small();
    let mut without = Vec::new();
    for touch in kernel_touches() {
        let Some(case) = cases.get(touch.name) else {
            without.push(touch.name);
            continue;
        };
        if touch.real().is_none() {
            println!("{}: skipped, because this libc has none", touch.name);
            continue;
        }
        println!("{}", touch.name);
        paged.reset();
        case(touch.name, &mut paged);
        paged.out();
    }
    assert!(without.is_empty(), "functions without a case: {without:?}");
}

#[test]
fn every_case_stands_in_the_table() {
    let names: Vec<_> = kernel_touches().iter().map(|touch| touch.name).collect();
    for name in cases().keys() {
        assert!(
            names.contains(name),
            "{name} is tested but not in the table"
        );
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(
        sorted.len(),
        names.len(),
        "a name stands twice in the table"
    );
}

#[test]
fn every_name_of_the_table_leads_to_our_function() {
    for touch in kernel_touches() {
        let name = CString::new(touch.name).expect("a name");
        // SAFETY: the loader answers with an address or null.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        if touch.real().is_some() {
            assert_eq!(
                found.addr(),
                touch.wrapper(),
                "{} leads past us for shared libraries",
                touch.name
            );
        }
        assert_ne!(
            touch.real(),
            Some(touch.wrapper()),
            "{} would call itself",
            touch.name
        );
    }
}

#[test]
fn the_document_names_every_function() {
    let text = include_str!("../../../docs/kernel-touches.md");
    for touch in kernel_touches() {
        let row = format!("| `{}` | {} |", touch.name, touch.what.trim());
        assert!(
            text.contains(&row),
            "docs/kernel-touches.md lacks this row:\n{row}"
        );
    }
}

/// Prints the rows of docs/kernel-touches.md: `cargo test --test kernel_touch_table rows -- --ignored --nocapture`.
#[test]
#[ignore = "prints the document's table"]
fn rows_of_the_document() {
    let mut family = "";
    for touch in kernel_touches() {
        if touch.family != family {
            family = touch.family;
            println!("\n### {family}\n\n| function | what is looked after |\n|---|---|");
        }
        println!("| `{}` | {} |", touch.name, touch.what.trim());
    }
}

/// Not a test by itself: the process that the cases of `exec` turn into a shell.
#[test]
fn exec_child() {
    if let Ok(name) = std::env::var("PAGEKEEPER_EXEC") {
        touch_cases::processes::execute(&name);
    }
}

/// What does not fit ends the program, as libc's checked functions do.
#[test]
fn a_checked_call_past_its_object_ends_the_program() {
    const TEST: &str = "a_checked_call_past_its_object_ends_the_program";
    if !support::inline_works() {
        return;
    }
    let touches = kernel_touches();
    let Some(touch) = touches.iter().find(|touch| touch.name == "__read_chk") else {
        return;
    };
    if touch.real().is_none() {
        println!("skipped, because this libc has none");
        return;
    }
    if support::is_child() {
        let mut paged = Paged::small();
        let buffer = paged.room(100);
        paged.out();
        call!("__read_chk", 0, buffer, 100_usize, 99_usize);
        return;
    }
    let (status, text) = support::in_child(pagekeeper::EngineKind::Inline, TEST);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGABRT),
        "{text}"
    );
}
