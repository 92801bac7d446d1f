//! What standing in front of libc costs calls whose memory is not paged: our function and libc's, taking turns.
//!
//! Prints nanoseconds a call, of the fastest tenth of many short rounds (other load only ever adds). An arena of the inline engine exists meanwhile, so that there is
//! something to look for; first the buffer lies outside the arenas' span, then (where the kernel put it so) within it.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls functions by address, which is what is measured"
)]

use std::time::Instant;

use pagekeeper::{ByteCount, EngineKind, KernelTouch, Protection, Space, kernel_touches};

const ROUNDS: usize = 800;
const CALLS: u32 = 1000;

type Clock = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;
type Read = unsafe extern "C" fn(libc::c_int, *mut libc::c_void, usize) -> isize;

fn time_one(call: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    (0..CALLS).for_each(|_| call());
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn fast(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 10]
}

fn compare(what: &str, ours: &mut dyn FnMut(), libcs: &mut dyn FnMut()) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(time_one(ours));
        without.push(time_one(libcs));
    }
    let (with, without) = (fast(with), fast(without));
    println!("{what:<42}{with:>8.1}{without:>8.1}{:>8.1}", with - without);
}

fn touch(name: &str) -> &'static KernelTouch {
    let touches = kernel_touches();
    touches
        .into_iter()
        .find(|touch| touch.name == name)
        .expect("in the table")
}

/// Measures with a buffer of 64 bytes.
fn measure(place: &str, buffer: *mut u8) {
    // SAFETY: libc's functions and ours have these types; descriptor -1 is none.
    unsafe {
        let (clock, read) = (touch("clock_gettime"), touch("read"));
        let of = |address: usize| std::mem::transmute::<usize, Clock>(address);
        let (ours, libcs) = (of(clock.wrapper()), of(clock.real().expect("in libc")));
        compare(
            &format!("clock_gettime, {place}"),
            &mut || {
                ours(libc::CLOCK_MONOTONIC, buffer.cast());
            },
            &mut || {
                libcs(libc::CLOCK_MONOTONIC, buffer.cast());
            },
        );
        let of = |address: usize| std::mem::transmute::<usize, Read>(address);
        let (ours, libcs) = (of(read.wrapper()), of(read.real().expect("in libc")));
        compare(
            &format!("read of no descriptor, {place}"),
            &mut || {
                ours(-1, buffer.cast(), 64);
            },
            &mut || {
                libcs(-1, buffer.cast(), 64);
            },
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:<42}{:>8}{:>8}{:>8}",
        "nanoseconds a call", "ours", "libc's", "more"
    );
    let mut outside = [0_u64; 8];
    measure("no arena", outside.as_mut_ptr().cast());
    let space = Space::builder()
        .engine(EngineKind::Inline)
        .ram(ByteCount::mib(16))
        .build()?;
    let first = space.reserve(ByteCount::gib(1)).committed().build()?;
    measure("arena elsewhere", outside.as_mut_ptr().cast());
    // A second arena, as far away as it can be: what lies between them is within the span.
    let low = space
        .reserve(ByteCount::mib(1))
        .at(0x1000_0000)
        .protection(Protection::READ_WRITE)
        .build()?;
    let mut between = vec![0_u64; 8];
    measure("between two arenas", between.as_mut_ptr().cast());
    drop((first, low));
    Ok(())
}
