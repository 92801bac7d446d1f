//! What the tests of the pager share: patterns, spaces, and tests that start themselves again.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

use std::process::{Command, ExitStatus};

use pagekeeper::{ByteCount, EngineKind, Protection, Reservation, Space};

pub(crate) const PAGE: usize = 4096;

/// A seed that is printed and can be given by `PAGEKEEPER_SEED`.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("PAGEKEEPER_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) * 0x9E37_79B9 + 1);
    println!("PAGEKEEPER_SEED={seed}");
    seed
}

/// xorshift: good enough to scatter accesses.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A space with its page file where the tests may write.
pub(crate) fn space(engine: EngineKind, ram: ByteCount) -> Space {
    Space::builder()
        .ram(ram)
        .engine(engine)
        .page_file_maximum(ByteCount::gib(2))
        .build()
        .expect("a space")
}

/// A committed reservation.
pub(crate) fn committed(space: &Space, size: ByteCount) -> Reservation {
    let reservation = space.reserve(size).build().expect("address space");
    reservation
        .commit(.., Protection::READ_WRITE)
        .expect("room");
    reservation
}

/// The words of page `index`.
#[allow(
    clippy::mut_from_ref,
    reason = "memory behind an address; each test gives a page to one user at a time"
)]
pub(crate) fn words(reservation: &Reservation, index: usize) -> &mut [u64] {
    assert!((index as u64) < reservation.pages().count().get());
    let address = reservation.base().wrapping_add(index * PAGE).cast::<u64>();
    // SAFETY: a committed page of the reservation; each test gives a page to one user at a time.
    unsafe { std::slice::from_raw_parts_mut(address, PAGE / 8) }
}

/// Fills page `index` with what only it can hold: by turns random, compressible, or one word repeated.
pub(crate) fn write_page(reservation: &Reservation, index: usize, salt: u64) {
    for (at, word) in words(reservation, index).iter_mut().enumerate() {
        *word = pattern(index, salt, at);
    }
}

/// The first word of page `index` that is not what `write_page` put there.
pub(crate) fn check_page(reservation: &Reservation, index: usize, salt: u64) {
    for (at, word) in words(reservation, index).iter().enumerate() {
        let expected = pattern(index, salt, at);
        assert_eq!(*word, expected, "page {index}, word {at}");
    }
}

fn pattern(page: usize, salt: u64, at: usize) -> u64 {
    let base = ((page as u64) << 24) ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    match page % 5 {
        0 => base,
        1 if !at.is_multiple_of(8) => 0x2020_2020_2020_2020,
        2 => u64::from(base as u32) << 32 | u64::from(base as u32),
        _ => (base ^ ((at as u64) << 13)).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (base >> 7),
    }
}

/// Whether the inline engine can run here; prints why not.
pub(crate) fn inline_works() -> bool {
    match Space::builder()
        .ram(ByteCount::mib(1))
        .engine(EngineKind::Inline)
        .build()
    {
        Ok(_) => true,
        Err(error) => {
            println!("skipped, because {error}");
            false
        }
    }
}

/// Runs `body` with each engine, each in a process of its own: this test, named `name`, again. What it prints after "told: " is shown.
pub(crate) fn with_every_engine(name: &str, body: impl Fn(EngineKind)) {
    if let Some(engine) = child_engine() {
        return body(engine);
    }
    for (_, engine) in EngineKind::NAMES {
        if engine == EngineKind::Inline && !inline_works() {
            continue;
        }
        let (status, text) = in_child(engine, name);
        assert!(status.success(), "{engine}: {text}");
        for line in text.lines().filter_map(|line| line.strip_prefix("told: ")) {
            println!("{engine}: {line}");
        }
    }
}

/// Runs one test of this program again in a process of its own, for an engine; the test asks [`child_engine`] and then does
/// what a process can do only once, such as dying.
pub(crate) fn in_child(engine: EngineKind, test: &str) -> (ExitStatus, String) {
    in_child_with(engine, test, &[])
}

/// The same with variables for the child.
pub(crate) fn in_child_with(
    engine: EngineKind,
    test: &str,
    variables: &[(&str, &str)],
) -> (ExitStatus, String) {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, engine.name())
        .envs(variables.iter().copied())
        .output()
        .expect("the test program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status, text)
}

/// Names the engine in a child's environment.
const CHILD: &str = "PAGEKEEPER_CHILD";

/// The engine that [`in_child`] started this process for; `None` in the test itself.
pub(crate) fn child_engine() -> Option<EngineKind> {
    let name = std::env::var(CHILD).ok()?;
    Some(name.parse().expect("an engine"))
}

/// Whether this is a child that [`in_child`] started.
pub(crate) fn is_child() -> bool {
    child_engine().is_some()
}

/// Runs `body`, which is about the inline engine, in a process of its own; the test passes if it does.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if !inline_works() {
        return;
    }
    if is_child() {
        return body();
    }
    let (status, text) = in_child(EngineKind::Inline, test);
    assert!(status.success(), "{test}: {status}\n{text}");
}

/// Forks; the child runs `body` and ends. Returns its number.
pub(crate) fn fork(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the test is the only thread of its own that matters.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the child without the harness.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    child
}

/// Waits for a forked child, which must have been content.
pub(crate) fn wait(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the child was content");
}
