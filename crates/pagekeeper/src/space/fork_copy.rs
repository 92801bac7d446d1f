//! True copies for a forked child: [`Settings::fork_copies`](crate::Settings::fork_copies).
//!
//! The kernel does not give a child our ranges (`MADV_DONTFORK`): with the inline engine it could not know what is out, with
//! the mapped one parent and child would write to the same file. So the copy is made by value, in three steps that
//! `pthread_atfork` calls on the thread that forks:
//!
//! 1. *Before*, in the parent: every committed page that was ever touched is read, as the program would read it and hence
//!    within the budget, and written to a nameless file. The space lock is held from here on, so that the rules stand
//!    still.
//! 2. *After*, in the parent: the locks are given back, the file is closed.
//! 3. *After*, in the child: it has a copy of the rules, but none of the memory, threads or descriptors. The addresses of the
//!    arenas are held before anything else may be mapped there; then come page files and engines of its own, the same
//!    arenas, the commits, the contents from the file, and the protections.
//!
//! What fails before the child has everything is said in one line; the child then has nothing of the space, as without the
//! option. See `docs/decisions/0013-forked-children.md`.

#![allow(unsafe_code, reason = "UNSAFETY: keeps a lock's guard across fork")]

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use pagekeeper_model::Protection;
use pagekeeper_store::page_file::{PageFileSettings, PageFiles, Places};
use pagekeeper_sys::{descriptor, map};

use super::fork_contents::{Contents, committed_regions};
use super::{Core, CoreGuard, SPACES, Shared, allocate};
use crate::engine::EngineKind;
use crate::engine::views::filled;
use crate::heap;
use crate::registry::{self, Registered};

/// One space that a fork copies, from before the fork until after it.
struct Copying {
    /// From `Arc::into_raw`, so that the guard may live as long as it likes.
    shared: *const Shared,
    core: Option<CoreGuard<'static>>,
    contents: Result<Contents, String>,
    /// Those of the child. Made before, because the parent's threads may hold locks of the old ones for ever, seen from the child.
    page_files: PageFileSettings,
    files: Option<RwLockWriteGuard<'static, Arc<PageFiles>>>,
}

/// What the forking thread holds.
struct Held {
    copies: Vec<Copying>,
    /// Kept for their `Drop`.
    _locks: Vec<Box<dyn Kept>>,
}

/// Anything that is only to be dropped.
trait Kept {}
impl<T> Kept for T {}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Asks libc to be told of forks. Once in a process's life; children inherit it.
pub(crate) fn watch_forks() {
    // SAFETY: the functions live as long as the program. Refused only without memory: then children have no copies.
    unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
}

unsafe extern "C" fn before() {
    heap::fork::before();
    hold_spaces();
}

fn hold_spaces() {
    if crate::fork::process_mark() == 0 {
        return;
    }
    let mut spaces: Vec<Arc<Shared>> = {
        let spaces = SPACES.read().unwrap_or_else(PoisonError::into_inner);
        let all = spaces.iter().flat_map(|spaces| spaces.values());
        all.filter_map(std::sync::Weak::upgrade)
            .filter(|space| space.settings.fork_copies && space.is_here())
            .collect()
    };
    // One order for everybody who takes several.
    spaces.sort_unstable_by_key(|space| space.number);
    let copies = spaces.into_iter().map(Copying::begin).collect();
    // For writing: a reader of another thread would stay in the child's copy of the lock for ever.
    let spaces = SPACES.write().unwrap_or_else(PoisonError::into_inner);
    let locks: Vec<Box<dyn Kept>> = vec![
        Box::new(spaces),
        Box::new(registry::hold()),
        Box::new(filled::hold()),
        Box::new(descriptor::hold_across_fork()),
    ];
    let held = Held {
        copies,
        _locks: locks,
    };
    // In a thread that is about to end there is no place to keep it: the locks go, and the child has nothing.
    let _ = HELD.try_with(|place| *place.borrow_mut() = Some(held));
}

fn take_held() -> Vec<Copying> {
    let held = HELD
        .try_with(|held| held.borrow_mut().take())
        .ok()
        .flatten();
    // The locks go first: what follows takes them.
    held.map_or_else(Vec::new, |held| held.copies)
}

unsafe extern "C" fn after_in_parent() {
    drop(take_held());
    heap::fork::after_in_parent();
}

unsafe extern "C" fn after_in_child() {
    revive_spaces();
    heap::fork::after_in_child();
}

fn revive_spaces() {
    let mut copies = take_held();
    if copies.is_empty() {
        return;
    }
    crate::fork::become_owner();
    // Before anything of ours, or of anybody else, is mapped where the arenas were.
    for copying in &mut copies {
        copying.hold_places();
    }
    descriptor::close_inherited();
    for mut copying in copies {
        if let Err(reason) = copying.revive() {
            eprintln!("pagekeeper: this forked child has no copy of its parent's memory: {reason}");
        }
    }
}

impl Copying {
    fn begin(shared: Arc<Shared>) -> Self {
        let shared = Arc::into_raw(shared);
        // SAFETY: the count that `into_raw` keeps is given back by `drop`, after the guard.
        let space = unsafe { &*shared };
        let mut core = space.core();
        let contents = Contents::of(space, &mut core);
        let page_files = page_file_settings(space, &space.files());
        // Last: nobody else holds it while the process forks, so it is free in the child.
        let files = Some(space.files.write().unwrap_or_else(PoisonError::into_inner));
        Self {
            shared,
            core: Some(core),
            contents,
            page_files,
            files,
        }
    }

    fn shared(&self) -> &'static Shared {
        // SAFETY: as in `begin`; nobody keeps the reference beyond this value.
        unsafe { &*self.shared }
    }

    fn hold_places(&mut self) {
        let Some(core) = &self.core else { return };
        for arena in core.model.arenas() {
            if let Err(errno) = map::hold_place(arena.range) {
                self.contents = Err(format!(
                    "its addresses at {:#x} are taken ({errno})",
                    arena.range.address()
                ));
                return;
            }
        }
    }

    /// In the child: makes everything that the rules know of true again.
    fn revive(&mut self) -> Result<(), String> {
        let shared = self.shared();
        let watched = {
            // The thread is the parent's.
            let mut watcher = shared.watcher.try_lock().ok();
            let theirs = watcher.as_mut().and_then(|watcher| watcher.take());
            let watched = theirs.is_some();
            core::mem::forget(theirs);
            watched
        };
        let Some(core) = &mut self.core else {
            return Ok(());
        };
        let contents = self.contents.as_ref().map_err(String::clone)?;
        self.files = None;
        let result = revive(shared, core, contents, &self.page_files);
        if let Err(reason) = result {
            let arenas: Vec<_> = core.model.arenas().collect();
            for arena in arenas {
                map::release_place(arena.range);
                if let Some(engine) = core.ledger.engine(arena.engine) {
                    allocate::close(&**engine, arena.range);
                }
            }
            return Err(reason);
        }
        shared
            .owner
            .store(crate::fork::process_mark(), Ordering::Relaxed);
        self.core = None;
        if watched {
            // SAFETY: the pointer came from `Arc::into_raw`, whose count stays.
            let again = unsafe {
                Arc::increment_strong_count(self.shared);
                Arc::from_raw(self.shared)
            };
            again.start_watching();
        }
        Ok(())
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.files = None;
        self.core = None;
        // SAFETY: gives back the count that `begin` took; the guard has gone.
        drop(unsafe { Arc::from_raw(self.shared) });
    }
}

/// Engines, arenas, commits, contents, protections. The space lock is held.
fn revive(
    shared: &Shared,
    core: &mut Core,
    contents: &Contents,
    page_files: &PageFileSettings,
) -> Result<(), String> {
    let files = {
        let before = shared.files();
        let files = PageFiles::open(page_files.clone());
        // Its descriptors are closed, its disks the parent's.
        core::mem::forget(before);
        Arc::new(files.map_err(|error| error.to_string())?)
    };
    let old = core::mem::replace(
        &mut *shared.files.write().unwrap_or_else(PoisonError::into_inner),
        Arc::clone(&files),
    );
    core::mem::forget(old);
    core.ledger
        .start_again(&files)
        .map_err(|error| error.to_string())?;
    let arenas: Vec<_> = core.model.arenas().collect();
    for arena in arenas {
        let Some(engine) = core.ledger.engine(arena.engine) else {
            continue;
        };
        let range = engine
            .open_arena(Some(arena.range.start()), arena.range.count())
            .map_err(|error| error.to_string())?;
        if engine.kind() != EngineKind::Inline {
            registry::insert(Registered {
                range,
                space: core.ledger.space(),
                inline: None,
            });
        }
    }
    let regions = committed_regions(core);
    for region in &regions {
        region.change(core, None, Some(Protection::READ_WRITE))?;
    }
    contents.put_back()?;
    for region in &regions {
        let protection = Some(region.protection);
        region.change(core, Some(Protection::READ_WRITE), protection)?;
    }
    core.refresh_limit();
    Ok(())
}

/// The parent's page files again, where they lie now.
fn page_file_settings(shared: &Shared, before: &PageFiles) -> PageFileSettings {
    let usage = before.usage();
    let staying = usage.iter().filter(|file| !file.retiring);
    let places: Vec<_> = staying.clone().map(|file| file.place.clone()).collect();
    let mut settings = shared.settings.page_file.clone();
    settings.maximum = staying.map(|file| file.maximum).max().or(settings.maximum);
    settings.places = match places.is_empty() {
        true => Places::None,
        false => Places::List(places),
    };
    settings
}
