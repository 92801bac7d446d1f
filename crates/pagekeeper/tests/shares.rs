//! Two engines in one space: who has how much of the RAM, and that nothing is lost when it moves.

mod support;

use pagekeeper::{ByteCount, EngineKind, Error, Protection, Reservation, SettingsError, Space};
use support::{check_page, inline_works, write_page};

const MIB: u64 = 1 << 20;
const RAM: ByteCount = ByteCount::mib(64);

fn reserve(space: &Space, engine: EngineKind, size: ByteCount) -> Reservation {
    let builder = space.reserve(size).engine(engine);
    builder.build().expect("address space")
}

/// The budget of an engine, in MiB.
fn share(space: &Space, engine: EngineKind) -> u64 {
    let engines = space.status().engines;
    let mut found = engines.iter().filter(|(kind, _)| *kind == engine);
    found.next().expect("it is used").1.budget.bytes().get() / MIB
}

fn sum(space: &Space) -> u64 {
    let engines = space.status().engines;
    engines
        .iter()
        .map(|(_, figures)| figures.budget.bytes().get())
        .sum()
}

/// Commits and fills the first `mib` MiB, as a growing table would.
fn fill(reservation: &Reservation, mib: u64, salt: u64) {
    for start in 0..mib {
        let range = start * MIB..(start + 1) * MIB;
        reservation
            .commit(range, Protection::READ_WRITE)
            .expect("room");
        for page in start * 256..(start + 1) * 256 {
            write_page(reservation, page as usize, salt);
        }
    }
}

fn check(reservation: &Reservation, mib: u64, salt: u64) {
    for page in 0..mib * 256 {
        check_page(reservation, page as usize, salt);
    }
}

#[test]
fn shares_follow_use_and_nothing_is_lost() {
    if !inline_works() {
        return;
    }
    let space = Space::builder()
        .ram(RAM)
        .page_file_maximum(ByteCount::gib(1))
        .build()
        .expect("a space");
    let inline = reserve(&space, EngineKind::Inline, ByteCount::gib(1));
    assert_eq!(
        share(&space, EngineKind::Mapped),
        32,
        "nobody uses anything"
    );
    assert_eq!(share(&space, EngineKind::Inline), 32);
    // The default engine has been started and does nothing: it keeps its minimum.
    fill(&inline, 128, 1);
    assert!(share(&space, EngineKind::Inline) >= 56);
    assert!(share(&space, EngineKind::Mapped) >= 4);
    assert!(sum(&space) <= RAM.get());
    // Another table as large: about the half each.
    let mapped = reserve(&space, EngineKind::Mapped, ByteCount::gib(1));
    fill(&mapped, 128, 2);
    let halves = 27..=37;
    assert!(halves.contains(&share(&space, EngineKind::Inline)));
    assert!(halves.contains(&share(&space, EngineKind::Mapped)));
    assert!(sum(&space) <= RAM.get());
    check(&inline, 128, 1);
    check(&mapped, 128, 2);
    // The first goes: its RAM is the other's, as soon as that asks for more.
    drop(inline);
    mapped
        .commit(128 * MIB..129 * MIB, Protection::READ_WRITE)
        .expect("room");
    assert!(share(&space, EngineKind::Mapped) >= 56);
    check(&mapped, 128, 2);
}

#[test]
fn a_fixed_share_stays() {
    if !inline_works() {
        return;
    }
    let space = Space::builder()
        .ram(RAM)
        .inline_share(75)
        .page_file_maximum(ByteCount::gib(1))
        .build()
        .expect("a space");
    assert_eq!(share(&space, EngineKind::Mapped), 64, "there is no other");
    let inline = reserve(&space, EngineKind::Inline, ByteCount::gib(1));
    let mapped = reserve(&space, EngineKind::Mapped, ByteCount::gib(1));
    fill(&mapped, 80, 2);
    fill(&inline, 8, 1);
    assert_eq!(share(&space, EngineKind::Inline), 48);
    assert_eq!(share(&space, EngineKind::Mapped), 16);
    check(&mapped, 80, 2);
    check(&inline, 8, 1);
}

#[test]
fn each_engine_gets_its_minimum_or_is_refused() {
    if !inline_works() {
        return;
    }
    // 4 MiB for mapped, 256 KiB for inline: halves would be too little for one of them.
    let just = ByteCount::kib(4096 + 256);
    let space = Space::builder().ram(just).build().expect("a space");
    let inline = reserve(&space, EngineKind::Inline, ByteCount::mib(64));
    let mapped = reserve(&space, EngineKind::Mapped, ByteCount::mib(64));
    fill(&inline, 4, 1);
    fill(&mapped, 8, 2);
    assert_eq!(share(&space, EngineKind::Mapped), 4);
    assert!(sum(&space) <= just.get());
    check(&inline, 4, 1);
    check(&mapped, 8, 2);
    // A page less, and the second engine is refused in words; the first goes on.
    let less = ByteCount::kib(4096 + 252);
    let space = Space::builder().ram(less).build().expect("a space");
    let refused = space.reserve(ByteCount::mib(1)).engine(EngineKind::Inline);
    let error = refused.build().expect_err("too little");
    assert!(
        matches!(error, Error::Settings(SettingsError::BudgetTooSmall { .. })),
        "{error}"
    );
    let mapped = reserve(&space, EngineKind::Mapped, ByteCount::mib(64));
    fill(&mapped, 8, 2);
    assert_eq!(sum(&space), less.get());
    // The budget cannot be lowered below the minima of what is used.
    assert!(space.set_ram(ByteCount::mib(3)).is_err());
    assert!(space.set_ram(ByteCount::mib(4)).is_ok());
    check(&mapped, 8, 2);
}
