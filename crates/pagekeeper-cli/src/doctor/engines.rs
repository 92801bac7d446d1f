//! Each engine at work: more data than its budget is written, paged out and read back.

use pagekeeper::{ByteCount, EngineKind, Error, PagedVec, Space};

use super::{Finding, Verdict};

/// Budget of the trial.
const RAM: ByteCount = ByteCount::mib(8);
/// Data of the trial, in words of eight bytes.
const WORDS: u64 = (24 << 20) / 8;
/// Address space that programs like to reserve.
const RESERVED: ByteCount = ByteCount::tib(1);

pub(super) fn look() -> Vec<Finding> {
    let mapped = try_out(EngineKind::Mapped);
    let inline = try_out(EngineKind::Inline);
    // Without the one there is still the other; without both there is nothing.
    let verdict = match (&mapped, &inline) {
        (Err(_), Err(_)) => Verdict::Missing,
        _ => Verdict::Warning,
    };
    vec![
        finding(EngineKind::Mapped, mapped, Verdict::Missing),
        finding(EngineKind::Inline, inline, verdict),
        finding(
            EngineKind::Resident,
            try_out(EngineKind::Resident),
            Verdict::Warning,
        ),
    ]
}

fn try_out(engine: EngineKind) -> Result<String, String> {
    let text = |error: Error| error.to_string();
    let settings = Space::builder()
        .ram(RAM)
        .from_env()
        .map_err(|error| error.to_string())?;
    let space = settings.ram(RAM).engine(engine).build().map_err(text)?;
    let mut data =
        PagedVec::<u64>::with_engine(&space, RESERVED.as_usize() / 8, engine).map_err(text)?;
    for number in 0..WORDS {
        data.push(value(number)).map_err(text)?;
    }
    let wrong = (0..WORDS)
        .filter(|&number| data[number as usize] != value(number))
        .count();
    if wrong > 0 {
        return Err(format!("{wrong} of {WORDS} words came back changed"));
    }
    let size = ByteCount::new(WORDS * 8).human();
    Ok(match engine {
        EngineKind::Resident => format!("{size} written and read back, never paged"),
        _ => format!("{size} in a budget of {}: all bytes equal", RAM.human()),
    })
}

/// Neither all the same nor easily packed.
fn value(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number >> 7
}

fn finding(engine: EngineKind, outcome: Result<String, String>, bad: Verdict) -> Finding {
    let (cost, remedy) = match engine {
        EngineKind::Mapped => (
            "the default engine, which everything can fall back to, does not work",
            "see the limits and the page file below",
        ),
        EngineKind::Inline => (
            "no compressed pool and no checksums; PagedVec uses the mapped engine",
            "see userfaultfd, sigbus and write_protect below",
        ),
        EngineKind::Resident => (
            "no engine for sanitizers and debuggers",
            "see the limits below",
        ),
        EngineKind::Views => (
            "no mapped files and no shared memory",
            "see the page file and the limits below",
        ),
    };
    match outcome {
        Ok(found) => Finding::ok(engine.name(), found),
        Err(reason) => Finding::bad(bad, engine.name(), reason, cost, remedy),
    }
}
