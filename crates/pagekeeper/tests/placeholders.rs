//! Placeholders on real memory, with every engine: what is split, replaced and merged never touches what lies beside it.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use pagekeeper::{
    ByteCount, EngineKind, Error, FreeRequest, PlaceholderRole, Protection, Refusal,
    ReplaceRequest, Space,
};
use support::{PAGE, next, seed, space, with_every_engine};

/// Pages of the address space that is divided: more than the budget of 8 MiB, so that pages leave RAM meanwhile.
const PAGES: u64 = 3000;

/// A part of the divided space: first page, pages, and what the pages hold where it was replaced.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u64,
    pages: u64,
    salt: Option<u64>,
}

struct Divided {
    space: Space,
    base: u64,
    parts: Vec<Part>,
}

impl Divided {
    fn new(engine: EngineKind) -> Self {
        let space = space(engine, ByteCount::mib(8));
        let size = ByteCount::new(PAGES * PAGE as u64);
        let made = space.reserve(size).placeholder().build_detached();
        let base = made.expect("address space").address();
        Self {
            space,
            base,
            parts: vec![Part {
                first: 0,
                pages: PAGES,
                salt: None,
            }],
        }
    }

    fn address(&self, page: u64) -> u64 {
        self.base + page * PAGE as u64
    }

    fn free(&self, first: u64, pages: u64, how: FreeRequest) -> Result<(), Error> {
        let size = pages * PAGE as u64;
        // SAFETY: nobody but this test knows the pages, and it holds no reference into them.
        unsafe { self.space.free_at(self.address(first), size, how) }
    }

    fn word(&self, page: u64, at: usize) -> *mut u64 {
        let address = self.address(page) as usize + at * 8;
        core::ptr::with_exposed_provenance_mut(address)
    }

    /// First, middle and last word of every page of what was replaced.
    fn words(part: &Part) -> impl Iterator<Item = (u64, usize, u64)> {
        let salt = part.salt.unwrap_or_default();
        (part.first..part.first + part.pages).flat_map(move |page| {
            [0, 255, 511].map(|at| (page, at, salt ^ (page << 16) ^ at as u64))
        })
    }

    fn replace(&mut self, index: usize, salt: u64) {
        let part = &mut self.parts[index];
        let request = ReplaceRequest {
            address: self.base + part.first * PAGE as u64,
            size: part.pages * PAGE as u64,
            protection: Protection::READ_WRITE,
            commit: true,
            write_watch: false,
        };
        match self.space.replace_placeholder_at(&request) {
            Ok(range) => assert_eq!(range.address(), request.address),
            // The resident engine has no page file to promise.
            Err(error) => {
                let refusal = error.refusal().copied();
                let is_full = matches!(refusal, Some(Refusal::CommitmentLimit { .. }));
                assert!(is_full, "{error}");
                return;
            }
        }
        part.salt = Some(salt);
        let part = *part;
        for (page, at, value) in Self::words(&part) {
            let word = self.word(page, at);
            // SAFETY: committed just now.
            unsafe {
                assert_eq!(word.read(), 0, "page {page} is not fresh");
                word.write(value);
            }
        }
    }

    /// Pages of part `index` become a placeholder of their own; what is left on both sides keeps its contents.
    fn preserve(&mut self, index: usize, first: u64, pages: u64) {
        let part = self.parts[index];
        let done = self.free(first, pages, FreeRequest::PreservePlaceholder);
        if part.salt.is_none() && pages == part.pages {
            let refusal = done.expect_err("one already").refusal().copied();
            assert!(matches!(refusal, Some(Refusal::OnePlaceholder { .. })));
            return;
        }
        done.expect("a part");
        let (end, part_end) = (first + pages, part.first + part.pages);
        let new = [
            (part.first, first, part.salt),
            (first, end, None),
            (end, part_end, part.salt),
        ];
        let new = new.into_iter().filter(|(first, end, _)| first < end);
        let new = new.map(|(first, end, salt)| Part {
            first,
            pages: end - first,
            salt,
        });
        self.parts.splice(index..=index, new.collect::<Vec<_>>());
    }

    /// The placeholders from part `index` on become one.
    fn coalesce(&mut self, index: usize) {
        let run = self.parts[index..].iter();
        let count = run.take_while(|part| part.salt.is_none()).count();
        if count < 2 {
            return;
        }
        let run = &self.parts[index..index + count];
        let (first, pages) = (run[0].first, run.iter().map(|part| part.pages).sum());
        self.free(first, pages, FreeRequest::CoalescePlaceholders)
            .expect("placeholders without a gap");
        let salt = None;
        let whole = Part { first, pages, salt };
        self.parts.splice(index..index + count, [whole]);
    }

    /// Every part has its own base, its role and its contents.
    fn check(&self) {
        for part in &self.parts {
            let address = self.address(part.first);
            let found = self.space.allocation_at(address).expect("a part");
            let size = ByteCount::new(part.pages * PAGE as u64);
            assert_eq!(
                (found.range.address(), found.range.bytes()),
                (address, size)
            );
            let role = match part.salt {
                None => PlaceholderRole::Placeholder,
                Some(_) => PlaceholderRole::Replacement,
            };
            assert_eq!(found.placeholder, role);
            for (page, at, value) in part.salt.iter().flat_map(|_| Self::words(part)) {
                // SAFETY: committed, and written by `replace`.
                let found = unsafe { self.word(page, at).read() };
                assert_eq!(found, value, "page {page}, word {at}, {part:?}");
            }
        }
    }
}

#[test]
fn neighbours_keep_their_contents() {
    with_every_engine("neighbours_keep_their_contents", divide_at_random);
}

fn divide_at_random(engine: EngineKind) {
    let mut random = seed();
    let mut divided = Divided::new(engine);
    for step in 0..600_u64 {
        let index = (next(&mut random) % divided.parts.len() as u64) as usize;
        let part = divided.parts[index];
        match next(&mut random) % 8 {
            0..3 if part.salt.is_none() => divided.replace(index, step << 40 | 1),
            0..6 => {
                let first = next(&mut random) % part.pages;
                let longest = (part.pages - first).min(400);
                let pages = 1 + next(&mut random) % longest;
                divided.preserve(index, part.first + first, pages);
            }
            6 => divided.coalesce(index),
            _ => {
                let bytes = part.pages * PAGE as u64;
                divided.space.trim_at(divided.address(part.first), bytes);
            }
        }
        if step % 20 == 0 {
            divided.check();
        }
    }
    divided.check();
    let filled = divided.parts.iter().filter(|part| part.salt.is_some());
    println!(
        "told: {} parts, {} of them filled",
        divided.parts.len(),
        filled.count()
    );
    // Every part goes for itself, and nothing is left.
    for part in &divided.parts {
        divided
            .free(part.first, 0, FreeRequest::Release)
            .expect("a part");
    }
    assert_eq!(divided.space.status().committed, ByteCount::ZERO);
    assert!(divided.space.allocation_at(divided.base).is_none());
}

#[test]
fn at_an_address_of_its_own_the_last_part_gives_it_back() {
    with_every_engine(
        "at_an_address_of_its_own_the_last_part_gives_it_back",
        divide_at_an_address,
    );
}

fn divide_at_an_address(engine: EngineKind) {
    let space = space(engine, ByteCount::mib(8));
    let at = 0x5000_0000;
    let size = ByteCount::kib(256);
    let make = || space.reserve(size).at(at).placeholder().build_detached();
    for _ in 0..3 {
        make().expect("free");
        let free = |address, size, how| {
            // SAFETY: nobody uses it.
            unsafe { space.free_at(address, size, how) }
        };
        free(at + 0x5000, 0x3000, FreeRequest::PreservePlaceholder).expect("a part");
        for address in [at + 0x5000, at + 0x8000, at] {
            assert!(space.allocation_at(address).is_some());
            free(address, 0, FreeRequest::Release).expect("a part");
        }
        assert!(space.allocation_at(at).is_none());
    }
    // The kernel has the address again: anybody may map it.
    let other = Space::builder()
        .ram(ByteCount::mib(8))
        .build()
        .expect("a space");
    other.reserve(size).at(at).build().expect("free again");
}
