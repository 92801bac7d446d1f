//! Views in the place of placeholders, with every engine: they lie in the engine's own arenas, among private pages of the same
//! 2 MiB, and neither side ever touches the other's.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use pagekeeper::{
    ByteCount, EngineKind, Error, FreeRequest, PlaceholderRole, Protection, Refusal,
    ReplaceRequest, Section, Space,
};
use support::{PAGE, next, seed, with_every_engine};

/// Pages of the divided address space, and of the section: more than the budget of 8 MiB.
const PAGES: u64 = 3000;
const BYTES: u64 = PAGE as u64;

/// What a part of the address space is at the moment.
#[derive(Clone, Debug, PartialEq)]
enum Use {
    Placeholder,
    /// Private memory, every page filled with its number and this salt.
    Private(u64),
    /// A view of the section from this page on; what was written goes to the section.
    Shared(u64),
    /// The same, but writes stay here: the salt of each page that was written.
    Copy(u64, Vec<Option<u64>>),
}

#[derive(Clone, Debug)]
struct Part {
    first: u64,
    pages: u64,
    is: Use,
}

/// A stretch of address space that is divided at random, and what all its pages hold.
struct Divided<'section> {
    space: &'section Space,
    section: &'section Section,
    base: u64,
    parts: Vec<Part>,
    /// The salt of each page of the section; `None`: never written.
    salts: Vec<Option<u64>>,
}

/// The words of a page that are looked at.
const WORDS: [usize; 3] = [0, 255, 511];

fn value(page: u64, at: usize, salt: u64) -> u64 {
    (salt << 32) ^ (page << 10) ^ at as u64
}

fn word(address: u64, at: usize) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(address as usize + at * 8)
}

fn write_page(address: u64, page: u64, salt: u64) {
    for at in WORDS {
        // SAFETY: writable, and this test's alone.
        unsafe { word(address, at).write(value(page, at, salt)) };
    }
}

fn check_page(address: u64, page: u64, salt: Option<u64>, what: &Part) {
    for at in WORDS {
        let expected = salt.map_or(0, |salt| value(page, at, salt));
        // SAFETY: readable, and this test's alone.
        let found = unsafe { word(address, at).read() };
        assert_eq!(found, expected, "page {page}, word {at}, {what:?}");
    }
}

impl<'section> Divided<'section> {
    fn new(space: &'section Space, section: &'section Section, pages: u64) -> Self {
        let size = ByteCount::new(pages * BYTES);
        let made = space.reserve(size).placeholder().build_detached();
        Self {
            space,
            section,
            base: made.expect("address space").address(),
            parts: vec![Part {
                first: 0,
                pages,
                is: Use::Placeholder,
            }],
            salts: vec![None; PAGES as usize],
        }
    }

    fn address(&self, page: u64) -> u64 {
        self.base + page * BYTES
    }

    fn free(&self, first: u64, pages: u64, how: FreeRequest) -> Result<(), Error> {
        // SAFETY: nobody but this test knows the pages, and it holds no reference into them.
        unsafe { self.space.free_at(self.address(first), pages * BYTES, how) }
    }

    fn make_private(&mut self, index: usize, salt: u64) {
        let Part { first, pages, .. } = self.parts[index];
        let made = self.space.replace_placeholder_at(&ReplaceRequest {
            address: self.address(first),
            size: pages * BYTES,
            protection: Protection::READ_WRITE,
            commit: true,
            write_watch: false,
        });
        if let Err(error) = made {
            // The resident engine has no page file to promise.
            let full = matches!(error.refusal(), Some(Refusal::CommitmentLimit { .. }));
            assert!(full, "{error}");
            return;
        }
        self.parts[index].is = Use::Private(salt);
        let part = &self.parts[index];
        for page in first..first + pages {
            check_page(self.address(page), page, None, part);
            write_page(self.address(page), page, salt);
        }
    }

    fn make_view(&mut self, index: usize, from: u64, copies: bool) {
        let Part { first, pages, .. } = self.parts[index];
        let protection = match copies {
            true => Protection::WRITE_COPY,
            false => Protection::READ_WRITE,
        };
        let view = self
            .section
            .view()
            .protection(protection)
            .offset(from * BYTES)
            .size(pages * BYTES)
            .replacing_placeholder(self.address(first))
            .build_detached();
        match view {
            Ok(range) => assert_eq!(range.address(), self.address(first)),
            Err(error) => {
                let full = matches!(error.refusal(), Some(Refusal::CommitmentLimit { .. }));
                assert!(copies && full, "{error}");
                return;
            }
        }
        self.parts[index].is = match copies {
            true => Use::Copy(from, vec![None; pages as usize]),
            false => Use::Shared(from),
        };
    }

    fn write_to(&mut self, index: usize, salt: u64, every: u64) {
        let base = self.base;
        let Part { first, pages, is } = &mut self.parts[index];
        for nth in (0..*pages).step_by(every as usize) {
            let address = base + (*first + nth) * BYTES;
            match is {
                Use::Shared(from) => {
                    write_page(address, *from + nth, salt);
                    self.salts[(*from + nth) as usize] = Some(salt);
                }
                Use::Copy(from, copied) => {
                    write_page(address, *from + nth, salt);
                    copied[nth as usize] = Some(salt);
                }
                Use::Private(_) | Use::Placeholder => {}
            }
        }
    }

    /// A part becomes a placeholder; of private memory and of a placeholder a part of it.
    fn give_up(&mut self, index: usize, first: u64, pages: u64) {
        let part = self.parts[index].clone();
        match part.is {
            Use::Shared(_) | Use::Copy(..) => {
                // SAFETY: as in `free`. Any address in the view will do.
                let gone = unsafe { self.space.unmap_to_placeholder_at(self.address(first) + 17) };
                gone.expect("a view that replaced a placeholder");
                self.parts[index].is = Use::Placeholder;
                return;
            }
            Use::Placeholder if pages == part.pages => return,
            Use::Placeholder | Use::Private(_) => {}
        }
        self.free(first, pages, FreeRequest::PreservePlaceholder)
            .expect("a part");
        let (end, part_end) = (first + pages, part.first + part.pages);
        let new = [
            (part.first, first, part.is.clone()),
            (first, end, Use::Placeholder),
            (end, part_end, part.is),
        ];
        let new = new.into_iter().filter(|(first, end, _)| first < end);
        let new = new.map(|(first, end, is)| Part {
            first,
            pages: end - first,
            is,
        });
        self.parts.splice(index..=index, new.collect::<Vec<_>>());
    }

    fn coalesce(&mut self, index: usize) {
        let run = self.parts[index..].iter();
        let run = run.take_while(|part| part.is == Use::Placeholder);
        let run: Vec<Part> = run.cloned().collect();
        if run.len() < 2 {
            return;
        }
        let (first, pages) = (run[0].first, run.iter().map(|part| part.pages).sum());
        self.free(first, pages, FreeRequest::CoalescePlaceholders)
            .expect("placeholders without a gap");
        let is = Use::Placeholder;
        let whole = Part { first, pages, is };
        self.parts.splice(index..index + run.len(), [whole]);
    }

    fn check(&self) {
        for part in &self.parts {
            let found = self.space.allocation_at(self.address(part.first));
            let found = found.expect("a part");
            assert_eq!(found.range.address(), self.address(part.first), "{part:?}");
            assert_eq!(found.range.count().get(), part.pages, "{part:?}");
            let role = match part.is {
                Use::Placeholder => PlaceholderRole::Placeholder,
                _ => PlaceholderRole::Replacement,
            };
            assert_eq!(found.placeholder, role, "{part:?}");
            for nth in 0..part.pages {
                let (page, address) = (part.first + nth, self.address(part.first + nth));
                let section = |from: u64| self.salts[(from + nth) as usize];
                match &part.is {
                    Use::Placeholder => {}
                    Use::Private(salt) => check_page(address, page, Some(*salt), part),
                    Use::Shared(from) => check_page(address, from + nth, section(*from), part),
                    Use::Copy(from, copied) => {
                        let salt = copied[nth as usize].or_else(|| section(*from));
                        check_page(address, from + nth, salt, part);
                    }
                }
            }
        }
    }

    fn step(&mut self, random: &mut u64, salt: u64) {
        let index = (next(random) % self.parts.len() as u64) as usize;
        let Part { first, pages, is } = self.parts[index].clone();
        match (next(random) % 8, is) {
            (0..2, Use::Placeholder) => self.make_private(index, salt),
            (2..=5, Use::Placeholder) => {
                let from = next(random) % (PAGES - pages + 1);
                self.make_view(index, from, next(random).is_multiple_of(2));
                self.write_to(index, salt, 1 + next(random) % 5);
            }
            (0..3, Use::Shared(_) | Use::Copy(..)) => {
                self.write_to(index, salt, 1 + next(random) % 9);
            }
            (6, _) => self.coalesce(index),
            (7, _) => self.space.trim_at(self.address(first), pages * BYTES),
            _ => {
                let start = next(random) % pages;
                let count = 1 + next(random) % (pages - start).min(400);
                self.give_up(index, first + start, count);
            }
        }
    }

    /// Every part goes, and nothing is left.
    fn clear(&mut self) {
        for part in core::mem::take(&mut self.parts) {
            let address = self.address(part.first);
            match part.is {
                // SAFETY: as in `free`.
                Use::Shared(_) | Use::Copy(..) => unsafe { self.space.unmap_at(address) },
                _ => self.free(part.first, 0, FreeRequest::Release),
            }
            .expect("a part");
            assert!(self.space.allocation_at(address).is_none());
        }
    }
}

fn space(engine: EngineKind) -> Space {
    support::space(engine, ByteCount::mib(8))
}

fn memory(space: &Space) -> Section {
    Section::anonymous(space, ByteCount::new(PAGES * BYTES))
        .build()
        .expect("a section")
}

#[test]
fn private_memory_and_views_take_turns_and_leave_each_other_alone() {
    with_every_engine(
        "private_memory_and_views_take_turns_and_leave_each_other_alone",
        |engine| {
            let mut random = seed();
            let space = space(engine);
            let before = space.status().committed;
            let section = memory(&space);
            let mut divided = Divided::new(&space, &section, PAGES);
            for step in 0..700 {
                divided.step(&mut random, step + 1);
                if step % 20 == 0 {
                    divided.check();
                }
            }
            divided.check();
            let views = divided.parts.iter();
            let views = views.filter(|part| matches!(part.is, Use::Shared(_) | Use::Copy(..)));
            println!(
                "told: {} parts, {} of them views",
                divided.parts.len(),
                views.count()
            );
            divided.clear();
            drop(section);
            assert_eq!(space.status().committed, before);
        },
    );
}

#[test]
fn four_threads_page_and_take_turns_side_by_side() {
    with_every_engine("four_threads_page_and_take_turns_side_by_side", |engine| {
        let random = seed();
        let space = space(engine);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let space = &space;
                let mut random = random ^ (thread + 1) << 20;
                // Sections of their own: what one writes is nobody else's to expect.
                scope.spawn(move || {
                    let section = memory(space);
                    // Not at multiples of 2 MiB: threads share pieces.
                    let mut divided = Divided::new(space, &section, 700);
                    for step in 0..300 {
                        divided.step(&mut random, step + 1);
                        if step % 25 == 0 {
                            divided.check();
                        }
                    }
                    divided.check();
                    divided.clear();
                });
            }
        });
    });
}
