//! The calls of one of our engines.

use pagekeeper::{ByteCount, EngineKind, Protection, Reservation};
use pagekeeper_units::PAGE_SIZE;

use super::{COMMIT, DECOMMIT, Job, PROTECT, QUERY, RESERVE, Report};
use crate::contender::ours_space;

const PAGE: u64 = PAGE_SIZE as u64;

pub(super) fn run(engine: EngineKind, job: &Job) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let space = ours_space(engine, &job.place, ByteCount::mib(256))?;
    let reserve = |pages: u64| space.reserve(ByteCount::new(pages * PAGE)).build();
    let alive: Vec<Reservation> = (0..job.alive)
        .map(|_| reserve(job.pages()))
        .collect::<Result<_, _>>()?;
    let target = |index| {
        let (reservation, page) = job.target(index);
        (&alive[reservation], page * PAGE..(page + 1) * PAGE)
    };
    let mut set = |name: &str, ns| report.figures.insert(name.to_owned(), ns);
    set(RESERVE, job.time(|_| reserve(16).map(drop))?);
    let ns = job.time(|index| {
        let (reservation, page) = target(index);
        reservation.commit(page, Protection::READ_WRITE)
    })?;
    set(COMMIT, ns);
    let ns = job.time(|index| {
        let (reservation, page) = target(index);
        reservation.query(page.start).map(|info| {
            std::hint::black_box(info);
        })
    })?;
    set(QUERY, ns);
    let ns = job.time(|index| {
        let (reservation, page) = target(index);
        reservation.protect(page, Protection::READ_ONLY).map(drop)
    })?;
    set(PROTECT, ns);
    let ns = job.time(|index| {
        let (reservation, page) = target(index);
        reservation.decommit(page)
    })?;
    set(DECOMMIT, ns);
    Ok(report)
}
