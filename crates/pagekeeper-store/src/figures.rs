//! What the parts cost, as a table. Run it in a release build, on a quiet machine:
//! `cargo test --release -p pagekeeper-store figures -- --ignored --nocapture`

#![allow(unsafe_code, reason = "UNSAFETY: reads objects that nobody else knows")]

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Instant;

use pagekeeper_sys::map::SlotPool;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount, PageNumber};

use crate::checksum::ChecksumKey;
use crate::codec::{CodecScratch, Compressed, Page, compress, decompress, same_filled};
use crate::page_file::{PageFileSettings, PageFiles, Places, SlotRead};
use crate::pool::{FrameSource, Pool};
use crate::testing::{Rng, Texture};

const PAGES: usize = 4096;

struct Unlimited;

impl FrameSource for Unlimited {
    fn take(&self, _: u32) -> bool {
        true
    }

    fn give(&self, _: u32) {}
}

/// Nanoseconds of one `work`, the best of five rounds over all pages.
fn time(mut work: impl FnMut(usize)) -> f64 {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..PAGES).for_each(&mut work);
            start.elapsed().as_nanos() as f64 / PAGES as f64
        })
        .fold(f64::MAX, f64::min)
}

#[test]
#[ignore = "a measurement, not a check"]
fn figures_of_the_codec_and_the_pool() {
    let mut rng = Rng::new(7);
    let key = ChecksumKey::random();
    println!("ns a page       ratio  same?  compress  unpack  checksum  insert    read  remove");
    for texture in Texture::ALL {
        let pages: Vec<Page> = (0..PAGES).map(|_| rng.page(texture)).collect();
        let mut scratch = CodecScratch::new();
        let packed: Vec<Option<Vec<u8>>> = pages
            .iter()
            .map(|page| match compress(page, &mut scratch) {
                Compressed::Packed(packed) => Some(packed.to_vec()),
                _ => None,
            })
            .collect();
        let same = time(|n| _ = black_box(same_filled(&pages[n])));
        let pack = time(|n| _ = black_box(compress(&pages[n], &mut scratch)));
        let sum = time(|n| _ = black_box(key.checksum(&pages[n])));
        print!("{:<12}", format!("{texture:?}"));
        let bytes: usize = packed.iter().flatten().map(Vec::len).sum();
        if bytes == 0 {
            println!("      -  {same:7.0} {pack:9.0}       -  {sum:8.0}");
            continue;
        }
        let bytes_of = |n: usize| packed[n].as_deref().unwrap_or(&[0]);
        let mut target = [0; PAGE_SIZE];
        let unpack = time(|n| _ = black_box(decompress(bytes_of(n), &mut target)));
        let pool = Pool::new(ByteCount::gib(1)).unwrap();
        let mut objects = Vec::new();
        let insert = time(|n| {
            objects.extend(pool.insert(bytes_of(n), PageNumber::new(n as u64), &Unlimited));
        });
        let read = time(|n| {
            // SAFETY: Nobody else knows the pool.
            _ = black_box(unsafe { pool.read(objects[n], &mut target) });
        });
        let mut next = 0;
        let remove = time(|_| {
            pool.remove(objects[next], &Unlimited);
            next += 1;
        });
        let ratio = (PAGES * PAGE_SIZE) as f64 / bytes as f64;
        println!(
            "  {ratio:6.1} {same:7.0} {pack:9.0} {unpack:7.0}  {sum:8.0} {insert:7.0} {read:7.0} \
             {remove:7.0}"
        );
    }
}

#[test]
#[ignore = "a measurement, not a check"]
fn figures_of_the_page_file() {
    const TOTAL: usize = 32_768;
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let files = PageFiles::open(PageFileSettings {
        places: Places::List(vec![folder.path().to_owned()]),
        maximum: Some(ByteCount::mib(256)),
        ..PageFileSettings::default()
    })
    .unwrap();
    let start = Instant::now();
    files.set_promised(PageCount::new(65_536)).unwrap();
    println!(
        "allocate 256 MiB: {:.1} ms; {:?}",
        start.elapsed().as_secs_f64() * 1e3,
        files.usage()
    );
    let buffers = SlotPool::new(1024, PageCount::new(64)).unwrap();
    let mut extent = buffers.take().unwrap();
    let mut rng = Rng::new(7);
    for page in extent.as_chunks_mut::<PAGE_SIZE>().0 {
        *page = rng.page(Texture::Random);
    }
    let sums: Vec<_> = extent
        .as_chunks::<PAGE_SIZE>()
        .0
        .iter()
        .map(|page| files.checksum(page))
        .collect();
    let mut slots = Vec::new();
    let start = Instant::now();
    while slots.len() < TOTAL {
        let run = files.take_run(64).unwrap();
        files
            .write_run(run, &[IoSlice::new(&extent)], &sums)
            .unwrap();
        slots.extend(run.slots());
    }
    let rate = |start: Instant, pages: usize| {
        (pages * PAGE_SIZE) as f64 / start.elapsed().as_secs_f64() / 1e6
    };
    println!("write, runs of 64: {:.0} MB/s", rate(start, TOTAL));
    let start = Instant::now();
    for &slot in slots.iter().step_by(64) {
        assert!(files.read_run(slot, &mut extent).is_good());
    }
    println!("read, runs of 64: {:.0} MB/s", rate(start, TOTAL));
    let start = Instant::now();
    let page = extent.first_chunk_mut::<PAGE_SIZE>().unwrap();
    for _ in 0..4000 {
        files
            .read_page(slots[rng.below(TOTAL as u64) as usize], page)
            .unwrap();
    }
    println!(
        "read, one random page: {:.1} us",
        start.elapsed().as_secs_f64() / 4000.0 * 1e6
    );
    let mut taken: Vec<_> = (0..64).map(|_| buffers.take().unwrap()).collect();
    let start = Instant::now();
    for _ in 0..200 {
        let mut reads: Vec<_> = taken
            .iter_mut()
            .map(|buffer| {
                let slot = slots[rng.below(TOTAL as u64) as usize];
                SlotRead::new(slot, &mut buffer[..PAGE_SIZE])
            })
            .collect();
        files.read_many(&mut reads);
        assert!(reads.iter().all(|read| read.outcome().is_good()));
    }
    let each = start.elapsed().as_secs_f64() / (200.0 * 64.0);
    println!(
        "read, 64 random pages at once: {:.1} us a page, {:.0}/s",
        each * 1e6,
        1.0 / each
    );
    let start = Instant::now();
    for _ in 0..100_000 {
        let run = files.take_run(64).unwrap();
        files.give_back_run(run);
    }
    println!(
        "take and give back 64 slots: {:.0} ns",
        start.elapsed().as_nanos() as f64 / 1e5
    );
    let start = Instant::now();
    for n in 0..1_000_000 {
        black_box(files.checksum_of(slots[n % TOTAL]));
    }
    println!(
        "checksum_of: {:.0} ns",
        start.elapsed().as_nanos() as f64 / 1e6
    );
}
