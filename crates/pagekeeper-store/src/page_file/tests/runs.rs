//! Several runs written at once.

use pagekeeper_sys::disk::Direction;

use super::*;

/// Files of a MiB each in which every slot is taken but holes of these lengths, one slot between two of them; the holes of
/// all files in order.
fn with_holes(files: &PageFiles, holes: &[u32]) {
    let mut taken = Vec::new();
    while let Some(run) = files.take_run(RUN_MAX) {
        taken.extend(run.slots());
    }
    let mut at = 0;
    for &hole in holes {
        for slot in &taken[at..at + hole as usize] {
            files.give_back(*slot);
        }
        at += hole as usize + 1;
    }
}

/// Takes runs until there are slots for so many pages.
fn take(files: &PageFiles, mut pages: u32) -> Vec<SlotRun> {
    let mut runs = Vec::new();
    while pages > 0 {
        let run = files.take_run(pages).expect("a slot");
        pages -= run.count;
        runs.push(run);
    }
    runs
}

fn write(
    files: &PageFiles,
    runs: &[SlotRun],
    pages: &[AlignedPage],
) -> [Result<(), WriteError>; RUNS_AT_ONCE] {
    let pieces: Vec<_> = pages
        .iter()
        .map(|page| IoSlice::new(page.bytes()))
        .collect();
    let sums: Vec<_> = pages
        .iter()
        .map(|page| files.checksum(page.bytes()))
        .collect();
    files.write_runs(runs, &pieces, &sums)
}

#[test]
fn runs_in_holes_of_two_files_come_back_by_every_way_of_transfer() {
    let mut rng = Rng::from_env();
    for io in [IoChoice::RingWhenPossible, IoChoice::Positioned] {
        let folders = [folder(), folder()];
        let settings = PageFileSettings {
            io,
            ..settings(&[folders[0].path(), folders[1].path()], 1)
        };
        let files = PageFiles::open(settings).unwrap();
        files.set_promised(PageCount::new(512)).unwrap();
        // The last one begins in the first file and ends with it.
        with_holes(&files, &[3, 1, 5, 2, 255 - 16, 4, 7]);
        let before = files.used();
        let pages = pages(&mut rng, 260);
        let runs = take(&files, 260);
        assert!(runs.len() >= 5 && runs.len() <= RUNS_AT_ONCE, "{runs:?}");
        let places: Vec<_> = runs
            .iter()
            .filter_map(|run| files.placement(run.first))
            .collect();
        assert!(places.iter().any(|place| place.file != places[0].file));
        let results = write(&files, &runs, &pages);
        assert!(results[..runs.len()].iter().all(Result::is_ok));
        assert_eq!(files.used().get(), before.get() + 260);
        let slots = runs.iter().flat_map(|run| run.slots());
        for (page, slot) in pages.iter().zip(slots) {
            assert!(load(&files, slot).unwrap() == *page.bytes());
        }
    }
}

#[test]
fn of_several_runs_the_one_that_failed_is_withdrawn_and_the_others_are_stored() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    with_holes(&files, &[3, 4, 5]);
    let pages = pages(&mut rng, 12);
    let mut runs = take(&files, 12);
    runs.sort_by_key(|run| run.first);
    let counts: Vec<_> = runs.iter().map(|run| run.count).collect();
    assert_eq!(counts, [3, 4, 5]);
    disk.0.add(Fault::FailsOnce {
        direction: Direction::Write,
        after: 1,
        errno: Errno::IO,
    });
    let results = write(&files, &runs, &pages);
    let refused = WriteError {
        errno: Errno::IO,
        withdrawn: true,
    };
    assert_eq!(results[..3], [Ok(()), Err(refused), Ok(())]);
    assert_eq!(files.usage()[0].bad, PageCount::new(4));
    let slots: Vec<_> = runs.iter().flat_map(|run| run.slots()).collect();
    for (index, (page, slot)) in pages.iter().zip(slots).enumerate() {
        match (3..7).contains(&index) {
            true => assert_eq!(files.checksum_of(slot), None),
            false => assert!(load(&files, slot).unwrap() == *page.bytes()),
        }
    }
}

#[test]
fn runs_that_do_not_fit_the_pages_are_left_alone() {
    let files = one_file(100);
    let runs = [files.take_run(2).unwrap(), files.take_run(1).unwrap()];
    let page = AlignedPage::new();
    let sum = files.checksum(page.bytes());
    let piece = || IoSlice::new(page.bytes());
    let invalid = Err(WriteError {
        errno: Errno::INVAL,
        withdrawn: false,
    });
    let all = [invalid; RUNS_AT_ONCE];
    assert_eq!(files.write_runs(&runs, &[piece(), piece()], &[sum; 3]), all);
    assert_eq!(
        files.write_runs(&runs, &[piece(), piece(), piece()], &[sum; 2]),
        all
    );
    let half = IoSlice::new(&page.bytes()[..2048]);
    assert_eq!(
        files.write_runs(&runs, &[piece(), piece(), half], &[sum; 3]),
        all
    );
    let many = [runs[1]; RUNS_AT_ONCE + 1];
    let pieces = [(); RUNS_AT_ONCE + 1].map(|()| piece());
    assert_eq!(
        files.write_runs(&many, &pieces, &[sum; RUNS_AT_ONCE + 1]),
        all
    );
    assert_eq!(files.used(), PageCount::new(3), "the runs are still ours");
    assert_eq!(files.checksum_of(runs[0].first), None);
}
