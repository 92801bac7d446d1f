//! Several page files: order of preference, adding and taking away while running.

use std::collections::HashSet;

use super::*;

#[test]
fn without_a_page_file_nothing_is_stored() {
    let files = PageFiles::open(PageFileSettings {
        places: Places::None,
        ..PageFileSettings::default()
    })
    .unwrap();
    assert!(files.is_empty());
    assert_eq!(files.take_run(1), None);
    assert_eq!(files.set_promised(PageCount::ZERO), Ok(PageCount::ZERO));
    let refused = files.set_promised(PageCount::ONE).unwrap_err();
    assert_eq!(refused, PageFileError::NoPageFile(ByteCount::kib(4)));
    println!("{refused}");
}

#[test]
fn one_refused_place_refuses_all() {
    let folder = folder();
    let missing = folder.path().join("missing");
    let refused = PageFiles::open(settings(&[folder.path(), &missing], 4)).unwrap_err();
    assert_eq!(refused, PageFileError::FolderMissing(missing));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_preferred_file_is_used_up_first_and_no_slot_comes_twice() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path(), two.path()], 2)).unwrap();
    assert_eq!(files.maximum(), PageCount::new(1024));
    files.set_promised(PageCount::new(1024)).unwrap();
    let mut seen = HashSet::new();
    let mut placed = Vec::new();
    while let Some(run) = files.take_run(100) {
        for slot in run.slots() {
            assert!(seen.insert(slot));
            let placement = files.placement(slot).unwrap();
            placed.push((placement.file.index(), placement.offset));
        }
    }
    assert_eq!(seen.len(), 1024);
    let expected: Vec<_> = (0..1024u64)
        .map(|n| ((n / 512) as usize, n % 512 * 4096))
        .collect();
    assert_eq!(placed, expected);
}

#[test]
fn a_file_is_added_while_running_and_comes_last() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path()], 2)).unwrap();
    files.set_promised(PageCount::new(512)).unwrap();
    assert!(files.set_promised(PageCount::new(600)).is_err());
    let id = files.add_file(two.path()).unwrap();
    files.set_promised(PageCount::new(600)).unwrap();
    let usage = files.usage();
    assert_eq!(
        usage.iter().map(|file| file.id).collect::<Vec<_>>(),
        [PageFileId(0), id]
    );
    assert_eq!(usage[1].place, two.path());
}

#[test]
fn a_file_is_emptied_and_taken_away_while_running() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path(), two.path()], 4)).unwrap();
    files.set_promised(PageCount::new(500)).unwrap();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 300);
    let mut slots = store(&files, &pages).unwrap();
    let id = PageFileId(0);
    let retiring = files.retire(id, PageCount::new(500)).unwrap();
    assert_eq!(files.used_in(&retiring), PageCount::new(300));
    assert!(!files.finish_retiring(&retiring), "pages are still in it");
    assert!(
        files.usable() >= PageCount::new(500),
        "the other file has grown"
    );
    // What was stored stays readable until it is moved.
    for (page, slot) in pages.iter().zip(&mut slots) {
        assert!(files.is_in(*slot, id) && !files.stays(*slot));
        assert!(load(&files, *slot).unwrap() == *page.bytes());
        let moved = store(&files, core::slice::from_ref(page)).unwrap()[0];
        assert!(!files.is_in(moved, id) && files.stays(moved));
        files.give_back(*slot);
        *slot = moved;
    }
    assert!(files.finish_retiring(&retiring));
    assert!(files.finish_retiring(&retiring), "it is gone");
    let gone = files.retire(id, PageCount::ZERO).unwrap_err();
    assert_eq!(gone, PageFileError::NotThere(id));
    assert_eq!(files.usage().len(), 1);
    for (page, &slot) in pages.iter().zip(&slots) {
        assert!(load(&files, slot).unwrap() == *page.bytes());
    }
    // Its number and its slot numbers are free again, and it comes last now.
    assert_eq!(files.add_file(one.path()), Ok(id));
    assert_eq!(files.usage()[1].id, id);
    assert!(load(&files, Slot::from_bits(0)).is_err());
    // Which is not the one that was taken away.
    assert_eq!(files.used_in(&retiring), PageCount::ZERO);
    assert!(files.finish_retiring(&retiring));
    assert_eq!(files.usage().len(), 2);
}

#[test]
fn a_file_whose_pages_would_not_fit_elsewhere_stays() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path(), two.path()], 2)).unwrap();
    files.set_promised(PageCount::new(700)).unwrap();
    let refused = files
        .retire(PageFileId(0), PageCount::new(700))
        .unwrap_err();
    println!("{refused}");
    assert!(matches!(refused, PageFileError::MaximumReached { .. }));
    assert!(!files.usage()[0].retiring);
    assert!(files.take_run(1).is_some());
    files.retire(PageFileId(0), PageCount::new(500)).unwrap();
    assert!(files.usage()[0].retiring);
    // Asked again, it does not matter what the others could hold.
    files.retire(PageFileId(0), PageCount::new(700)).unwrap();
    assert!(files.usage()[0].retiring);
    assert_eq!(files.maximum(), PageCount::new(512));
}

#[test]
fn a_file_is_not_closed_under_a_reader() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path(), two.path()], 4)).unwrap();
    files.set_promised(PageCount::new(200)).unwrap();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 100);
    for round in 0..20 {
        let id = files.usage()[0].id;
        let slots = store(&files, &pages).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Numbers go stale under the reader; what is read is right or refused.
                for (page, &slot) in pages.iter().zip(&slots) {
                    if let Ok(bytes) = load(&files, slot) {
                        assert!(bytes == *page.bytes());
                    }
                }
            });
            let retiring = files.retire(id, PageCount::new(200)).unwrap();
            for &slot in &slots {
                files.give_back(slot);
            }
            assert!(files.finish_retiring(&retiring));
        });
        let place = if round % 2 == 0 {
            one.path()
        } else {
            two.path()
        };
        files.add_file(place).unwrap();
    }
}

#[test]
fn sixteen_files_are_the_most() {
    let folder = folder();
    let places = [folder.path(); FILES_MAX];
    let files = PageFiles::open(settings(&places, 1)).unwrap();
    assert_eq!(files.maximum(), PageCount::new(16 * 256));
    assert_eq!(
        files.add_file(folder.path()),
        Err(PageFileError::TooManyFiles(FILES_MAX))
    );
    files.set_promised(PageCount::new(16 * 256)).unwrap();
    let mut count = 0;
    while let Some(run) = files.take_run(256) {
        count += run.count;
    }
    assert_eq!(count, 16 * 256);
}

#[test]
fn more_slots_than_32_bits_are_refused() {
    let folder = folder();
    let large = PageFileSettings {
        maximum: Some(ByteCount::tib(12)),
        ..settings(&[folder.path()], 1)
    };
    let files = match PageFiles::open(large) {
        Err(PageFileError::Tables(errno)) => {
            println!("skipped, because there is no address space ({errno})");
            return;
        }
        other => other.unwrap(),
    };
    let refused = files.add_file(folder.path()).unwrap_err();
    assert!(matches!(refused, PageFileError::TooLarge(_)), "{refused:?}");
    assert_eq!(files.usage().len(), 1);
}

/// A file that is added while others look for slots: every run that they get lies in the range of the file that it came from.
#[test]
fn slots_of_a_file_that_is_just_being_added_have_its_numbers() {
    let (first, second) = (folder(), folder());
    for _ in 0..30 {
        let files = PageFiles::open(PageFileSettings {
            initial: ByteCount::mib(1),
            ..settings(&[first.path()], 1)
        })
        .unwrap();
        while files.take_run(64).is_some() {}
        let end = files.maximum().get();
        std::thread::scope(|scope| {
            let seeker = scope.spawn(|| {
                loop {
                    if let Some(run) = files.take_run(1) {
                        return run;
                    }
                }
            });
            files.add_file(second.path()).unwrap();
            let run = seeker.join().unwrap();
            assert!(u64::from(run.first.bits()) >= end, "{run:?}");
        });
    }
}
