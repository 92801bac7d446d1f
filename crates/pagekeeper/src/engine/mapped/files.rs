//! All page files of an engine: made at the first need, filled in order of preference.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_units::PageCount;

use super::page_file::{PIECE_BYTES, PageFile};
use super::page_set::PIECE_PAGES;
use super::piece::Place;
use super::places::Places;
use crate::error::EngineError;

/// Pieces whose space is given back by one call (64 MiB).
const PUNCHED_AT_ONCE: u64 = 32;

/// One file and its slots.
#[derive(Debug)]
struct Member {
    /// Where it was asked for.
    path: PathBuf,
    file: Arc<PageFile>,
    places: Places,
    /// Whether it takes nothing new any more. Its number stays, since pieces are found by it.
    is_closing: bool,
}

/// The page files.
#[derive(Debug)]
pub(super) struct Files {
    /// Where files are still to be made, in order.
    unopened: VecDeque<PathBuf>,
    allow_ram_disk: bool,
    members: Vec<Member>,
    /// Pieces that may be taken in each file.
    most: u64,
    /// Places of no use any more, whose space has not been given back yet.
    retired: Vec<Run>,
    /// Runs whose space is being given back just now.
    punching: u64,
    /// Why a file gave no more space, last time.
    refusal: Option<Errno>,
}

/// Pieces that are neighbours in memory and in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) place: Place,
    pub(super) pieces: u64,
}

impl Run {
    /// Its length.
    pub(super) fn bytes(self) -> u64 {
        self.pieces * PIECE_BYTES
    }
}

impl Files {
    /// `most` is the largest size of each file.
    pub(super) fn new(paths: Vec<PathBuf>, most: PageCount, allow_ram_disk: bool) -> Self {
        let most = most.get() / PIECE_PAGES as u64;
        Self {
            unopened: paths.into(),
            allow_ram_disk,
            members: Vec::new(),
            most,
            retired: Vec::new(),
            punching: 0,
            refusal: None,
        }
    }

    /// Whether there is, or can be made, any file.
    pub(super) fn are_possible(&self) -> bool {
        !self.unopened.is_empty() || self.members.iter().any(|member| !member.is_closing)
    }

    /// The open files.
    pub(super) fn open(&self) -> impl Iterator<Item = &Arc<PageFile>> {
        self.members.iter().map(|member| &member.file)
    }

    /// The file that a place lies in.
    pub(super) fn file(&self, place: Place) -> Result<&Arc<PageFile>, EngineError> {
        let member = self.members.get(usize::from(place.file));
        let errno = Errno::BADF;
        member
            .map(|member| &member.file)
            .ok_or(EngineError::Kernel {
                call: "page file",
                errno,
            })
    }

    /// One more place for a file, the least preferred one.
    pub(super) fn add(&mut self, path: &Path) {
        self.unopened.push_back(path.to_owned());
    }

    /// A file in this place takes no piece any more.
    pub(super) fn retire(&mut self, path: &Path) {
        let stays = |member: &&mut Member| member.path == path && !member.is_closing;
        if let Some(member) = self.members.iter_mut().find(stays) {
            member.is_closing = true;
        } else if let Some(never_opened) = self.unopened.iter().position(|other| other == path) {
            self.unopened.remove(never_opened);
        }
    }

    /// Pieces that are still in use in such files.
    pub(super) fn pieces_in_retired(&self, path: &Path) -> u64 {
        let members = self.members.iter().enumerate();
        members
            .filter(|(_, member)| member.path == path && member.is_closing)
            .map(|(number, member)| {
                let on_its_way = |run: &&Run| usize::from(run.place.file) == number;
                let runs = self.retired.iter().filter(on_its_way);
                let ended: u64 = runs.map(|run| run.pieces).sum();
                // One slot is the brake's.
                member.places.taken().saturating_sub(1 + ended)
            })
            .sum()
    }

    /// Pieces in use in all files.
    pub(super) fn taken_pieces(&self) -> u64 {
        let taken = |member: &Member| member.places.taken().saturating_sub(1);
        let retired: u64 = self.retired.iter().map(|run| run.pieces).sum();
        self.members
            .iter()
            .map(taken)
            .sum::<u64>()
            .saturating_sub(retired)
    }

    /// Bytes that the tables take, about.
    pub(super) fn record_bytes(&self) -> u64 {
        self.members
            .iter()
            .map(|member| member.places.record_bytes())
            .sum()
    }

    /// Places with real space for `count` pieces from number `first` on, in as few runs as possible. All or
    /// nothing.
    pub(super) fn take(&mut self, first: u64, count: u64) -> Result<Vec<Run>, EngineError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut done = 0;
        let mut index = 0;
        while done < count {
            if index == self.members.len()
                && let Err(error) = self.open_next()
            {
                self.give_back(&runs);
                return Err(error);
            }
            match self.take_in(index, first + done, count - done) {
                Some(run) => {
                    done += run.pieces;
                    runs.push(run);
                }
                None => index += 1,
            }
        }
        Ok(runs)
    }

    /// One run in one file, or `None` when that file has no more room.
    fn take_in(&mut self, index: usize, first: u64, count: u64) -> Option<Run> {
        let member = &mut self.members[index];
        if member.is_closing {
            return None;
        }
        loop {
            let slot = member.places.take(first)?;
            let mut pieces = 1;
            while pieces < count {
                match member.places.take(first + pieces) {
                    Some(next) if u64::from(next) == u64::from(slot) + pieces => pieces += 1,
                    Some(elsewhere) => {
                        member.places.give_back(elsewhere);
                        break;
                    }
                    None => break,
                }
            }
            let run = Run {
                place: Place {
                    file: index as u8,
                    slot,
                },
                pieces,
            };
            let length = pieces * PIECE_BYTES;
            let Err(errno) = member.file.allocate(run.place.offset(0), length) else {
                return Some(run);
            };
            // Part of it may have been allocated: that goes back as well.
            give_back_in(member, run);
            match errno {
                // A shorter run may still fit, and with one piece we know where the file ends.
                _ if pieces > 1 => return self.take_in(index, first, pieces / 2),
                Errno::FBIG => member.places.ends_before(slot),
                _ => {
                    self.refusal = Some(errno);
                    return None;
                }
            }
        }
    }

    /// Places are of no use any more: their space is to go back to the file system. That takes a
    /// millisecond a piece, so the balancer does it.
    pub(super) fn give_back(&mut self, runs: &[Run]) {
        self.retired.extend_from_slice(runs);
    }

    /// A run whose space is to be given back with [`PageFile::punch`], and the file it lies in. Say then
    /// how that went.
    pub(super) fn next_retired(&mut self) -> Option<(Run, Arc<PageFile>)> {
        let last = self.retired.last_mut()?;
        let run = match last.pieces {
            // The rest stays for the next time: who waits for space need not wait for all of it.
            many if many > PUNCHED_AT_ONCE => {
                last.pieces -= PUNCHED_AT_ONCE;
                let slot = last.place.slot + last.pieces as u32;
                Run {
                    place: Place { slot, ..last.place },
                    pieces: PUNCHED_AT_ONCE,
                }
            }
            _ => self.retired.pop()?,
        };
        let member = self.members.get(usize::from(run.place.file))?;
        self.punching += 1;
        Some((run, Arc::clone(&member.file)))
    }

    /// The space of a run was given back, or not. If not, it stays allocated, no more: the file is gone with the
    /// process at the latest. But then its bytes are not zero, and its slots must not be used again.
    pub(super) fn was_punched(&mut self, run: Run, result: Result<(), Errno>) {
        self.punching -= 1;
        if let Some(member) = self.members.get_mut(usize::from(run.place.file))
            && result.is_ok()
        {
            give_back_slots(member, run);
        }
    }

    /// Whether space is being given back, without the mutex: there will be more in a moment.
    pub(super) fn is_punching(&self) -> bool {
        self.punching != 0
    }

    /// Gives all space back now. Says whether there was any.
    pub(super) fn punch_retired(&mut self) -> bool {
        let mut any = false;
        while let Some((run, file)) = self.next_retired() {
            let result = file.punch(run.place.offset(0), run.bytes());
            self.was_punched(run, result);
            any = true;
        }
        any
    }

    fn open_next(&mut self) -> Result<(), EngineError> {
        let path = self.unopened.pop_front().ok_or_else(|| {
            EngineError::PageFileSpace(match self.refusal {
                Some(errno) => format!("no space left for it: {errno}"),
                None => "every page file is at its maximum".to_owned(),
            })
        })?;
        let mut file = PageFile::create(&path, self.allow_ram_disk)?;
        let mut places = Places::new(self.most.saturating_add(1));
        // A slot of which only a part is ever allocated, for the brake.
        if let Some(slot) = places.take(u64::MAX) {
            file.use_scratch(u64::from(slot) * PIECE_BYTES);
        }
        self.members.push(Member {
            path,
            file: Arc::new(file),
            places,
            is_closing: false,
        });
        Ok(())
    }
}

fn give_back_in(member: &mut Member, run: Run) {
    if member.file.punch(run.place.offset(0), run.bytes()).is_ok() {
        give_back_slots(member, run);
    }
}

fn give_back_slots(member: &mut Member, run: Run) {
    for slot in run.place.slot..run.place.slot + run.pieces as u32 {
        member.places.give_back(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_given_back_in_parts_that_can_be_used_again_at_once() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let most = PageCount::new(100 * PIECE_PAGES as u64);
        let mut files = Files::new(vec![folder.path().to_owned()], most, false);
        // One slot is the brake's.
        let runs = files.take(0, 100).unwrap();
        assert!(files.take(0, 1).is_err(), "all of it is taken");
        files.give_back(&runs);
        let (first, file) = files.next_retired().unwrap();
        assert_eq!(first.pieces, PUNCHED_AT_ONCE);
        assert!(files.is_punching());
        let punched = file.punch(first.place.offset(0), first.bytes());
        files.was_punched(first, punched);
        let again = files.take(0, PUNCHED_AT_ONCE).unwrap();
        let pieces: u64 = again.iter().map(|run| run.pieces).sum();
        assert_eq!(pieces, PUNCHED_AT_ONCE);
        files.give_back(&again);
        // The rest, each piece once.
        let mut slots = Vec::new();
        while let Some((run, file)) = files.next_retired() {
            assert!(run.pieces <= PUNCHED_AT_ONCE);
            slots.extend((run.place.slot..).take(run.pieces as usize));
            let punched = file.punch(run.place.offset(0), run.bytes());
            files.was_punched(run, punched);
        }
        slots.sort_unstable();
        assert_eq!(slots.len(), 100);
        assert!(slots.windows(2).all(|two| two[0] != two[1]));
        assert_eq!(files.taken_pieces(), 0);
        assert!(!files.is_punching());
    }
}
