//! Space on the disk: allocated for good before it is promised, refused when there is none.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::*;

/// Bytes that the disk has really set aside.
fn on_disk(files: &PageFiles) -> u64 {
    let file: File = files.clone_descriptor(PageFileId(0)).unwrap().into();
    file.metadata().unwrap().blocks() * 512
}

#[test]
fn growth_in_steps_is_real() {
    let folder = folder();
    let files = PageFiles::open(settings(&[folder.path()], 200)).unwrap();
    assert!(on_disk(&files) <= 64 << 10);
    assert_eq!(files.take_run(1), None, "nothing is promised yet");
    // One page is enough for a step of 64 MiB; the last step ends at the maximum.
    let steps = [
        (0, 64),
        (64, 64),
        (65, 128),
        (130, 192),
        (193, 200),
        (200, 200),
    ];
    for (promised_mib, allocated_mib) in steps {
        let pages = PageCount::new((promised_mib << 8).max(1));
        assert_eq!(
            files.set_promised(pages),
            Ok(PageCount::new(allocated_mib << 8))
        );
        assert_eq!(files.usage()[0].allocated, ByteCount::mib(allocated_mib));
        let blocks = on_disk(&files);
        assert!(blocks >= allocated_mib << 20, "{blocks} bytes on the disk");
    }
    // Promising less keeps the space.
    assert_eq!(
        files.set_promised(PageCount::ONE),
        Ok(PageCount::new(200 << 8))
    );
    assert_eq!(files.promised(), PageCount::ONE);
}

#[test]
fn more_than_a_step_comes_at_once() {
    let folder = folder();
    let files = PageFiles::open(settings(&[folder.path()], 512)).unwrap();
    assert_eq!(
        files.set_promised(PageCount::new(150 << 8)),
        Ok(PageCount::new(150 << 8))
    );
    assert!(on_disk(&files) >= 150 << 20);
}

#[test]
fn the_initial_size_is_there_at_once() {
    let folder = folder();
    let files = PageFiles::open(PageFileSettings {
        initial: ByteCount::mib(3),
        ..settings(&[folder.path()], 8)
    })
    .unwrap();
    assert!(on_disk(&files) >= 3 << 20);
    assert_eq!(files.usable(), PageCount::new(768));
}

#[test]
fn beyond_the_maximum_is_refused_and_changes_nothing() {
    let folder = folder();
    let files = PageFiles::open(settings(&[folder.path()], 2)).unwrap();
    files.set_promised(PageCount::new(100)).unwrap();
    let before = (files.usage(), on_disk(&files));
    let refused = files.set_promised(PageCount::new(513)).unwrap_err();
    println!("{refused}");
    assert_eq!(
        refused,
        PageFileError::MaximumReached {
            wanted: PageCount::new(513).bytes(),
            maximum: ByteCount::mib(2),
        }
    );
    assert_eq!((files.usage(), on_disk(&files)), before);
    assert_eq!(files.promised(), PageCount::new(100));
}

#[test]
fn what_a_refused_promise_took_is_given_back() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path(), two.path()], 2)).unwrap();
    let before = on_disk(&files);
    files.set_promised(PageCount::new(1025)).unwrap_err();
    assert!(
        on_disk(&files) <= before.max(4096),
        "{} bytes kept",
        on_disk(&files)
    );
    assert_eq!(files.usable(), PageCount::ZERO);
}

#[test]
fn more_than_the_disk_has_is_refused_without_filling_it() {
    let folder = folder();
    let free = pagekeeper_sys::file::file_system(folder.path())
        .unwrap()
        .free_bytes;
    let maximum_mib = (free >> 20) * 2;
    if maximum_mib >= 15 << 20 {
        println!("skipped, because the disk is larger than a page file may be");
        return;
    }
    let files = PageFiles::open(settings(&[folder.path()], maximum_mib)).unwrap();
    files.set_promised(PageCount::new(256)).unwrap();
    let started = std::time::Instant::now();
    let refused = files
        .set_promised(PageCount::new(maximum_mib << 8))
        .unwrap_err();
    println!("{refused}");
    assert!(
        matches!(refused, PageFileError::DiskFull { .. }),
        "{refused:?}"
    );
    assert!(started.elapsed().as_secs() < 5);
    assert!(on_disk(&files) <= 65 << 20);
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 100);
    let slots = store(&files, &pages).unwrap();
    assert!(load(&files, slots[99]).unwrap() == *pages[99].bytes());
}

#[test]
fn an_initial_size_that_does_not_fit_is_refused() {
    let folder = folder();
    let free = pagekeeper_sys::file::file_system(folder.path())
        .unwrap()
        .free_bytes;
    let size = ByteCount::mib((free >> 20) * 2);
    if size >= ByteCount::tib(15) {
        println!("skipped, because the disk is larger than a page file may be");
        return;
    }
    let refused = PageFiles::open(PageFileSettings {
        initial: size,
        maximum: Some(size),
        ..settings(&[folder.path()], 1)
    })
    .unwrap_err();
    assert!(
        matches!(refused, PageFileError::DiskFull { .. }),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
