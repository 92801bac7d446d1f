//! A disk that fails, tears, forgets and lies.

use std::fs::File;
use std::os::unix::fs::FileExt;

use pagekeeper_sys::disk::Direction;

use super::*;

#[test]
fn a_failed_write_withdraws_its_slots_and_others_take_the_pages() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 64);
    disk.0.add(Fault::FailsOnce {
        direction: Direction::Write,
        after: 0,
        errno: Errno::IO,
    });
    let refused = store(&files, &pages).unwrap_err();
    assert_eq!((refused.errno, refused.withdrawn), (Errno::IO, true));
    let usage = &files.usage()[0];
    assert_eq!(
        (usage.used.get(), usage.bad.get(), usage.errors),
        (0, 64, 1)
    );
    assert_eq!(files.usable(), PageCount::new(2048 - 64));
    let slots = store(&files, &pages).unwrap();
    assert!(
        slots.iter().all(|slot| slot.bits() >= 64),
        "bad slots are never used again"
    );
    for (page, slot) in pages.iter().zip(slots) {
        assert!(load(&files, slot).unwrap() == *page.bytes());
    }
}

#[test]
fn what_bad_slots_take_away_the_promise_asks_for_again() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    disk.0.add(Fault::FailsOnce {
        direction: Direction::Write,
        after: 0,
        errno: Errno::IO,
    });
    store(&files, &pages(&mut rng, 10)).unwrap_err();
    // The file is at its maximum: ten pages less can be promised now.
    assert!(matches!(
        files.set_promised(PageCount::new(2048)),
        Err(PageFileError::MaximumReached { .. })
    ));
    assert_eq!(
        files.set_promised(PageCount::new(2038)),
        Ok(PageCount::new(2038))
    );
}

/// Looks again and again until nothing more is due within two seconds.
fn mend(files: &PageFiles) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
    while std::time::Instant::now() < end {
        files.mend();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_disk_that_had_no_space_gets_its_slots_back_when_it_has() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 64);
    disk.0.add(Fault::EndsAt { offset: 0 });
    let before = files.changes();
    for _ in 0..3 {
        assert_eq!(store(&files, &pages).unwrap_err().errno, Errno::NOSPC);
    }
    assert!(files.changes() > before);
    assert_eq!(files.withdrawn(), PageCount::new(192));
    assert_eq!(files.maximum(), PageCount::new(2048 - 192));
    mend(&files);
    assert_eq!(files.withdrawn(), PageCount::new(192), "still no space");
    disk.0.heal();
    let before = files.changes();
    mend(&files);
    assert_eq!(files.withdrawn(), PageCount::ZERO);
    assert_eq!(files.usable(), PageCount::new(2048));
    assert!(files.changes() > before);
}

#[test]
fn of_a_failed_run_only_the_bad_slot_stays_out() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    // One sector in the 20th page is bad: every write over it fails.
    let bad = Fault::FailsAcross {
        direction: Direction::Write,
        offset: 20 * PAGE_SIZE as u64 + 512,
        errno: Errno::IO,
    };
    disk.0.add(bad);
    store(&files, &pages(&mut rng, 64)).unwrap_err();
    assert_eq!(files.withdrawn(), PageCount::new(64));
    mend(&files);
    assert_eq!(files.withdrawn(), PageCount::ONE);
    assert!(!files.is_mending_due(), "given up for good");
    // A dead disk condemns nothing.
    disk.0.add(Fault::FailsAfter {
        direction: Direction::Write,
        after: 0,
        errno: Errno::IO,
    });
    store(&files, &pages(&mut rng, 64)).unwrap_err();
    mend(&files);
    assert_eq!(files.withdrawn(), PageCount::new(65));
    disk.0.heal();
    mend(&files);
    assert_eq!(files.withdrawn(), PageCount::ONE);
}

#[test]
fn what_withdrawn_slots_take_away_another_file_makes_up_for() {
    let (files, disk) = failing_file();
    let second = folder();
    let other = files.add_file(second.path()).unwrap();
    assert_eq!(files.promised(), PageCount::new(2048));
    let mut rng = Rng::from_env();
    disk.0.add(Fault::FailsAfter {
        direction: Direction::Write,
        after: 0,
        errno: Errno::IO,
    });
    store(&files, &pages(&mut rng, 64)).unwrap_err();
    assert!(files.usable() < files.promised());
    mend(&files);
    assert!(files.usable() >= files.promised());
    let grown = files.usage().into_iter().find(|file| file.id == other);
    assert!(grown.unwrap().allocated >= ByteCount::new(64 * PAGE_SIZE as u64));
}

#[test]
fn every_write_may_fail_at_any_moment_and_nothing_stored_is_lost() {
    let mut rng = Rng::from_env();
    for after in 0..12 {
        let (files, disk) = failing_file();
        let pages = pages(&mut rng, 200);
        disk.0.add(Fault::FailsAfter {
            direction: Direction::Write,
            after,
            errno: Errno::IO,
        });
        let mut stored = Vec::new();
        let mut failed = 0;
        for (index, part) in pages.chunks(10).enumerate() {
            match store(&files, part) {
                Ok(slots) => stored.extend((index * 10..).zip(slots)),
                Err(_) => failed += 1,
            }
        }
        assert_eq!((stored.len(), failed), (after as usize * 10, 20 - after));
        for (page, slot) in stored {
            assert!(load(&files, slot).unwrap() == *pages[page].bytes());
        }
    }
}

#[test]
fn an_error_that_is_not_the_slots_fault_frees_them() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    disk.0.add(Fault::FailsOnce {
        direction: Direction::Write,
        after: 0,
        errno: Errno::NOMEM,
    });
    let refused = store(&files, &pages(&mut rng, 8)).unwrap_err();
    assert!(!refused.withdrawn);
    let usage = &files.usage()[0];
    assert_eq!((usage.used.get(), usage.bad.get()), (0, 0));
}

#[test]
fn a_torn_write_is_an_error_and_never_half_a_page() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    disk.0.add(Fault::TearsWriteAfter { after: 0 });
    let refused = store(&files, &pages(&mut rng, 7)).unwrap_err();
    assert!(refused.withdrawn);
    for slot in 0..7 {
        assert_eq!(load(&files, Slot::from_bits(slot)), Err(ReadError::Damaged));
    }
}

#[test]
fn a_flipped_bit_damages_its_page_and_no_other() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 64);
    let slots = store(&files, &pages).unwrap();
    disk.0.add(Fault::Flips {
        offset: 20 * PAGE_SIZE as u64 + 4095,
        mask: 0x10,
    });
    assert_eq!(load(&files, slots[20]), Err(ReadError::Damaged));
    assert!(load(&files, slots[19]).is_ok() && load(&files, slots[21]).is_ok());
    let mut bytes = vec![0; 64 * PAGE_SIZE];
    let outcome = files.read_run(slots[0], &mut bytes);
    for (index, page) in bytes.as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
        let expected = if index == 20 {
            Err(ReadError::Damaged)
        } else {
            Ok(())
        };
        assert_eq!(outcome.page(index), expected);
        assert!(index == 20 || page == pages[index].bytes());
    }
    assert_eq!(files.usage()[0].damaged, 2);
    disk.0.heal();
    assert!(load(&files, slots[20]).is_ok());
}

#[test]
fn a_read_that_fails_once_is_tried_again() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 4);
    let slots = store(&files, &pages).unwrap();
    disk.0.add(Fault::FailsOnce {
        direction: Direction::Read,
        after: 0,
        errno: Errno::IO,
    });
    assert!(load(&files, slots[3]).unwrap() == *pages[3].bytes());
}

#[test]
fn a_bad_page_does_not_take_its_neighbours_along() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let slots = store(&files, &pages(&mut rng, 32)).unwrap();
    disk.0.add(Fault::EndsAt {
        offset: 30 * PAGE_SIZE as u64,
    });
    let mut bytes = vec![0; 32 * PAGE_SIZE];
    let outcome = files.read_run(slots[0], &mut bytes);
    for index in 0..32 {
        let expected = if index < 30 {
            Ok(())
        } else {
            Err(ReadError::Io(Errno::IO))
        };
        assert_eq!(outcome.page(index), expected, "{index}");
    }
    // The same in a batch.
    let mut reads: Vec<_> = bytes
        .chunks_mut(4 * PAGE_SIZE)
        .zip(slots.iter().step_by(4))
        .map(|(part, &slot)| SlotRead::new(slot, part))
        .collect();
    files.read_many(&mut reads);
    assert!(reads[..7].iter().all(|read| read.outcome().is_good()));
    let last = reads[7].outcome();
    assert_eq!(
        (last.page(1), last.page(2)),
        (Ok(()), Err(ReadError::Io(Errno::IO)))
    );
}

#[test]
fn a_disk_that_answers_nothing_is_not_asked_for_every_page() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let slots = store(&files, &pages(&mut rng, 32)).unwrap();
    disk.0.add(Fault::FailsAfter {
        direction: Direction::Read,
        after: 0,
        errno: Errno::IO,
    });
    let mut bytes = vec![0; 32 * PAGE_SIZE];
    let outcome = files.read_run(slots[0], &mut bytes);
    assert!((0..32).all(|page| outcome.page(page) == Err(ReadError::Io(Errno::IO))));
    assert_eq!(files.usage()[0].errors, 1, "one second look");
    disk.0.heal();
    assert!(files.read_run(slots[0], &mut bytes).is_good());
}

#[test]
fn a_write_that_never_happened_is_noticed() {
    let (files, disk) = failing_file();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 2);
    disk.0.add(Fault::LosesWritesAfter { after: 1 });
    let first = store(&files, &pages[..1]).unwrap();
    let second = store(&files, &pages[1..]).unwrap();
    assert!(load(&files, first[0]).is_ok());
    assert_eq!(load(&files, second[0]), Err(ReadError::Damaged));
}

#[test]
fn another_slots_bytes_and_old_bytes_are_noticed() {
    let (files, _disk) = failing_file();
    let mut rng = Rng::from_env();
    let pages: Vec<_> = (0..3)
        .map(|_| {
            let mut page = AlignedPage::new();
            *page.bytes_mut() = rng.page(Texture::Random);
            page
        })
        .collect();
    let slots = store(&files, &pages).unwrap();
    let behind: File = files.clone_descriptor(PageFileId(0)).unwrap().into();
    // A misdirected write: slot 0's bytes landed in slot 1.
    behind
        .write_all_at(pages[0].bytes(), PAGE_SIZE as u64)
        .unwrap();
    assert_eq!(load(&files, slots[1]), Err(ReadError::Damaged));
    // Old bytes: slot 2 is used again, and the disk goes back in time.
    files.give_back(slots[2]);
    while files.take_run(256).is_some() {}
    let run = SlotRun::one(slots[2]);
    let sum = files.checksum(pages[0].bytes());
    files
        .write_run(run, &[IoSlice::new(pages[0].bytes())], &[sum])
        .unwrap();
    assert!(load(&files, slots[2]).is_ok());
    behind
        .write_all_at(pages[2].bytes(), 2 * PAGE_SIZE as u64)
        .unwrap();
    assert_eq!(load(&files, slots[2]), Err(ReadError::Damaged));
}

#[test]
fn a_file_that_was_cut_short_fails_and_never_gives_zeros() {
    let (files, _disk) = failing_file();
    let mut rng = Rng::from_env();
    let slots = store(&files, &pages(&mut rng, 10)).unwrap();
    let behind: File = files.clone_descriptor(PageFileId(0)).unwrap().into();
    behind.set_len(5 * PAGE_SIZE as u64).unwrap();
    assert!(load(&files, slots[4]).is_ok());
    assert_eq!(load(&files, slots[5]), Err(ReadError::Io(Errno::NODATA)));
}
