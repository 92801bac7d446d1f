//! The bookkeeping of one of our engines.
#![allow(unsafe_code, reason = "UNSAFETY: looks at committed memory as words")]

use pagekeeper::{ByteCount, EngineKind, Error, Protection, Reservation, Space};
use pagekeeper_units::PAGE_SIZE;

use super::{EXTENT, Job, PAGES_DECOMMITTED, RESERVATION_BYTES, RESERVATIONS, Report, each};
use crate::contender::ours_space;
use crate::pages::Words;
use crate::random::{Random, mix};
use crate::usage::Peak;

const PAGE: u64 = PAGE_SIZE as u64;

pub(super) fn run(engine: EngineKind, job: &Job) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let room = ByteCount::new(job.commits * PAGE + (256 << 20));
    let space = ours_space(engine, &job.place, room)?;
    reserve_and_release(&space, &mut report)?;
    grow(&space, &mut report)?;
    queries(&space, job, &mut report)?;
    decommits(&space, &mut report)?;
    dense(&space, job, &mut report)?;
    alternating(&space, job, &mut report)?;
    Ok(report)
}

fn reserve_and_release(space: &Space, report: &mut Report) -> Result<(), Error> {
    // One stays, as in any real program, so that the arena does too.
    let _kept = space.reserve(ByteCount::new(RESERVATION_BYTES)).build()?;
    let ns = each(RESERVATIONS, |_| {
        space
            .reserve(ByteCount::new(RESERVATION_BYTES))
            .build()
            .map(drop)
    })?;
    report.set("reserve-release", ns);
    Ok(())
}

fn grow(space: &Space, report: &mut Report) -> Result<(), Error> {
    let array = space.reserve(ByteCount::gib(1)).build()?;
    let ns = each(PAGES_DECOMMITTED, |page| {
        array.commit(page * PAGE..(page + 1) * PAGE, Protection::READ_WRITE)
    })?;
    report.set("commit-next", ns);
    Ok(())
}

/// A reservation whose first `regions` regions are committed and reserved pages by turns.
fn checkered(space: &Space, regions: u64) -> Result<Reservation, Error> {
    let reservation = space
        .reserve(ByteCount::new(regions.max(16) * PAGE))
        .build()?;
    for index in 0..regions / 2 {
        commit_alternating(&reservation, index)?;
    }
    Ok(reservation)
}

fn commit_alternating(reservation: &Reservation, index: u64) -> Result<(), Error> {
    let start = 2 * index * PAGE;
    reservation.commit(start..start + PAGE, Protection::READ_WRITE)
}

fn queries(space: &Space, job: &Job, report: &mut Report) -> Result<(), Error> {
    const QUERIES: u64 = 200_000;
    let most = (2 * job.commits).min(1_000_000);
    for (name, regions) in [
        ("query-1", 1),
        ("query-1000", 1_000),
        ("query-1000000", most),
    ] {
        let reservation = checkered(space, regions)?;
        let size = reservation.size().get();
        let mut random = Random::new(regions);
        let ns = each(QUERIES, |_| {
            reservation.query(random.below(size)).map(|info| {
                std::hint::black_box(info);
            })
        })?;
        report.set(name, ns);
    }
    report.set("regions", most as f64);
    Ok(())
}

fn words(reservation: &Reservation) -> Words {
    // SAFETY: the caller touches committed pages of a reservation of its own only.
    unsafe { Words::new(reservation.base(), reservation.size().get() / 8) }
}

fn decommits(space: &Space, report: &mut Report) -> Result<(), Error> {
    let pages = PAGES_DECOMMITTED;
    for (name, step, touched) in [
        ("decommit-touched", 1, true),
        ("decommit-untouched", 1, false),
        ("decommit-extent-touched", EXTENT, true),
        ("decommit-extent-untouched", EXTENT, false),
    ] {
        let reservation = space
            .reserve(ByteCount::new(pages * PAGE))
            .committed()
            .build()?;
        if touched {
            let mut words = words(&reservation);
            for page in 0..pages {
                words.store(page * PAGE / 8, 1);
            }
        }
        let bytes = step * PAGE;
        let ns = each(pages / step, |index| {
            reservation.decommit(index * bytes..(index + 1) * bytes)
        })?;
        report.set(name, ns);
    }
    Ok(())
}

/// Own metadata, and memory as the kernel counts it, in bytes.
fn held(space: &Space) -> (f64, f64) {
    (
        space.status().overhead.get() as f64,
        Peak::now(&[]).total as f64,
    )
}

fn dense(space: &Space, job: &Job, report: &mut Report) -> Result<(), Error> {
    let before = held(space);
    let size = ByteCount::new(job.commits * PAGE);
    let reservation = space.reserve(size).committed().build()?;
    let after = held(space);
    report.set("bytes-dense", (after.0 - before.0) / job.commits as f64);
    report.set("rss-dense", (after.1 - before.1) / job.commits as f64);
    drop(reservation);
    Ok(())
}

fn alternating(space: &Space, job: &Job, report: &mut Report) -> Result<(), Error> {
    let reservation = space
        .reserve(ByteCount::new(2 * job.commits * PAGE))
        .build()?;
    let before = held(space);
    let ns = each(job.commits, |index| commit_alternating(&reservation, index))?;
    let after = held(space);
    report.set("alternating", job.commits as f64);
    report.set("commit-alternating", ns);
    report.set(
        "bytes-alternating",
        (after.0 - before.0) / job.commits as f64,
    );
    report.set("rss-alternating", (after.1 - before.1) / job.commits as f64);
    let mut words = words(&reservation);
    let ns = each(job.commits, |index| {
        words.store(2 * index * PAGE / 8, mix(index));
        Ok::<_, Error>(())
    })?;
    report.set("write-alternating", ns);
    let mut wrong = 0;
    let ns = each(job.commits, |index| {
        wrong += u64::from(words.load(2 * index * PAGE / 8) != mix(index));
        Ok::<_, Error>(())
    })?;
    report.set("read-alternating", ns);
    report.wrong_words += wrong;
    Ok(())
}
