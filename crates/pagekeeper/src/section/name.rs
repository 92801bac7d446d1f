//! Names of sections, without any registry ([decision 0018](../../../../docs/decisions/0018-sections-and-views.md)).
//!
//! Whoever has a handle to a named section announces where its file is to be found: an abstract socket whose name holds the
//! user, a hash of the section's name, the thread that holds the descriptor, its number and the file's identity. Who looks for the
//! name believes nothing of that but where to look. A section of a file announces a [record](super::record) instead.
//!
//! The sockets are out of the program's reach, and a forked child does not have them: a name, and the lock, are held by nobody but
//! the process that took them.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use pagekeeper_model::{Protection, Refusal};
use pagekeeper_sys::announce::{self, Announcement};
use pagekeeper_sys::descriptor::apart::ApartDescriptor;
use pagekeeper_sys::map::Access;
use pagekeeper_sys::time::pause;
use pagekeeper_sys::{Errno, file, prctl};

use super::builder::is_writable;
use super::record::FileRecord;
use crate::engine::views::{Header, LONGEST_NAME, Source, run_apart};
use crate::error::EngineError;

/// The longest name in characters, without what stands in front.
const LONGEST: usize = 260;
/// How long the lock is waited for: it is held for a look-up and the allocation of a section's room.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often whoever holds a socket name is asked again who he is, a millisecond apart. Ours answer from the moment they have
/// it, but for the time between two system calls.
const REFUSALS: u32 = 500;
/// How often a section that is announced but not to be seen is looked for again: its process may be ending.
const LOOKS: u32 = 500;

/// The name of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    is_global: bool,
    base: String,
}

/// A name that this process has announced.
#[derive(Debug)]
pub(super) struct Held {
    name: String,
    // In this order they go.
    _announcement: ApartDescriptor,
    _record: Option<ApartDescriptor>,
}

impl Held {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// What somebody has under a name.
#[derive(Debug)]
pub(super) enum Found {
    Memory(ApartDescriptor, Header),
    File(ApartDescriptor, FileRecord),
}

/// What another process has to know of a section that has a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfFile {
    pub(super) size: u64,
    pub(super) protection: Protection,
    pub(super) kind: pagekeeper_model::AllocationKind,
}

impl Name {
    /// Reads `Local\x`, `Global\x` or `x`.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let (is_global, base) = match text.split_once('\\') {
            None => (false, text),
            Some(("Local", base)) => (false, base),
            Some(("Global", base)) => (true, base),
            Some(_) => return Err(Refusal::NameInvalid),
        };
        let is_sound = !base.is_empty()
            && !base.contains(['\\', '\0'])
            && base.chars().count() <= LONGEST
            && base.len() + 8 <= LONGEST_NAME;
        if !is_sound {
            return Err(Refusal::NameInvalid);
        }
        Ok(Self {
            is_global,
            base: base.to_owned(),
        })
    }

    /// With `Local\` or `Global\` in front.
    pub(super) fn full(&self) -> String {
        let scope = if self.is_global { "Global" } else { "Local" };
        format!("{scope}\\{}", self.base)
    }

    /// What the announcements of all who have it begin with.
    fn prefix(&self) -> String {
        format!(
            "pagekeeper/s1/{}/{:016x}/",
            prctl::user(),
            hash(&self.full())
        )
    }

    /// Announces it for a section of this process: of memory, or of a file.
    pub(super) fn hold(
        &self,
        source: &Source,
        of_file: Option<OfFile>,
    ) -> Result<Held, EngineError> {
        let (name, prefix) = (self.full(), self.prefix());
        let (thread, number) = source.place();
        let identity = source.identity();
        let record = of_file.map(|section| FileRecord {
            size: section.size,
            protection: section.protection,
            kind: section.kind,
            number,
            identity,
            name: name.clone(),
        });
        run_apart(move || {
            let Some(record) = record else {
                let announcement = announce(&prefix, (thread, number), identity)?;
                return Ok(Held {
                    name,
                    _announcement: announcement,
                    _record: None,
                });
            };
            let refused = |errno| unusable("a record could not be made", errno);
            let published = record.publish().map_err(refused)?;
            let facts = published.with(|file| file::facts(file));
            let facts = facts.and_then(|facts| facts).map_err(refused)?;
            let announcement = announce(&prefix, published.place(), (facts.device, facts.inode))?;
            Ok(Held {
                name,
                _announcement: announcement,
                _record: Some(published),
            })
        })
    }

    /// The section that has the name, if somebody has it.
    ///
    /// # Errors
    /// `Names` where that cannot be known. Never "nobody" then: there would be two sections of one name.
    pub(super) fn find(&self) -> Result<Option<Found>, EngineError> {
        let (prefix, name) = (self.prefix(), self.full());
        for _ in 0..LOOKS {
            let (prefix, name) = (prefix.clone(), name.clone());
            match run_apart(move || look(&prefix, &name))? {
                Look::Found(found) => return Ok(Some(found)),
                Look::Nobody => return Ok(None),
                Look::Unseen => pause(Duration::from_millis(1)),
            }
        }
        Err(EngineError::Names(format!(
            "another process of this user has '{name}', but its descriptors are not to be seen in /proc: does it run in another \
             container, or is /proc mounted with hidepid?"
        )))
    }
}

/// Announces a place under the first free count: a process may have several handles to one section.
fn announce(
    prefix: &str,
    (thread, number): (u32, u32),
    (device, inode): (u64, u64),
) -> Result<ApartDescriptor, EngineError> {
    for count in 0..1000 {
        let name = format!("{prefix}{thread}/{number}/{device:x}.{inode:x}/{count}");
        // Whoever cannot look at the file asks whose it is.
        match bind(name.as_bytes()) {
            Ok(announcement) => return Ok(announcement),
            Err(Errno::ADDRINUSE) => {}
            Err(errno) => return Err(unusable("a local socket could not be bound", errno)),
        }
    }
    Err(EngineError::Names(
        "this process has too many handles to one section".to_owned(),
    ))
}

/// To be called where files are out of the program's reach.
fn bind(name: &[u8]) -> Result<ApartDescriptor, Errno> {
    let announcement = Announcement::bind_with_owner(name)?;
    ApartDescriptor::adopt(OwnedFd::from(announcement))
}

/// One look at all announcements of a name.
enum Look {
    Found(Found),
    Nobody,
    /// Somebody of this user has it who is ending, or cannot be seen.
    Unseen,
}

fn look(prefix: &str, name: &str) -> Result<Look, EngineError> {
    let names = announce::names(prefix)
        .map_err(|errno| unusable("/proc/net/unix cannot be read", errno))?;
    let mut outcome = Look::Nobody;
    for announced in &names {
        let place = announced.strip_prefix(prefix).and_then(Place::parse);
        let Some(place) = place else { continue };
        let errno = match place.open(name) {
            Ok(Some(found)) => return Ok(Look::Found(found)),
            Ok(None) => continue,
            Err(errno) => errno,
        };
        // Anybody can announce anything; only what this user's processes say counts.
        match announce::owner_of(announced.as_bytes()) {
            Ok(user) if user != prctl::user() => {}
            Err(Errno::CONNREFUSED | Errno::PROTOTYPE) => {}
            _ if matches!(errno, Errno::NOENT | Errno::SRCH | Errno::BADF) => {
                outcome = Look::Unseen;
            }
            _ => {
                let what = format!(
                    "the section '{name}' of thread {} cannot be opened",
                    place.thread
                );
                return Err(unusable(&what, errno));
            }
        }
    }
    Ok(outcome)
}

/// Where an announcement says that a section's file, or its record, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    thread: u32,
    number: u32,
    device: u64,
    inode: u64,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let thread = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let (device, inode) = parts.next()?.split_once('.')?;
        Some(Self {
            thread,
            number,
            device: u64::from_str_radix(device, 16).ok()?,
            inode: u64::from_str_radix(inode, 16).ok()?,
        })
    }

    /// Opens what is there, and believes it to be the section `name` only if everything says so. `None`: it is something else.
    fn open(self, name: &str) -> Result<Option<Found>, Errno> {
        let file = file::of_process(self.thread, self.number, Access::READ_WRITE)?;
        let facts = file::facts(&file)?;
        let is_ours = facts.is_regular
            && facts.owner == prctl::user()
            && facts.permissions & 0o077 == 0
            && (facts.device, facts.inode) == (self.device, self.inode);
        if !is_ours {
            return Ok(None);
        }
        if let Some(record) = FileRecord::read(file.as_fd())? {
            return self.open_recorded(name, record);
        }
        match Header::open(file.as_fd())? {
            Some(header) if header.facts().name == name => {
                Ok(Some(Found::Memory(ApartDescriptor::adopt(file)?, header)))
            }
            _ => Ok(None),
        }
    }

    /// Opens the file that a record of ours names.
    fn open_recorded(self, name: &str, record: FileRecord) -> Result<Option<Found>, Errno> {
        if record.name != name {
            return Ok(None);
        }
        let mut access = Access::READ;
        access.set(Access::WRITE, is_writable(record.protection));
        let file = file::of_process(self.thread, record.number, access)?;
        if identity_of(file.as_fd())? != record.identity {
            // The descriptor was closed, and its number is another file's: whoever had the name has let it go.
            return Err(Errno::NOENT);
        }
        Ok(Some(Found::File(ApartDescriptor::adopt(file)?, record)))
    }
}

fn identity_of(file: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let facts = file::facts(file)?;
    Ok((facts.device, facts.inode))
}

/// Held: no other process of this user makes or looks for a named section.
#[derive(Debug)]
pub(super) struct Lock {
    _socket: ApartDescriptor,
}

/// Takes the lock of this user.
pub(super) fn lock() -> Result<Lock, EngineError> {
    lock_named(format!("pagekeeper/lock/{}", prctl::user()))
}

fn lock_named(name: String) -> Result<Lock, EngineError> {
    let deadline = Instant::now() + PATIENCE;
    let mut refusals = 0;
    loop {
        let own = name.clone();
        let attempt = run_apart(move || {
            Ok(match bind(own.as_bytes()) {
                Err(Errno::ADDRINUSE) => Err(announce::owner_of(own.as_bytes())),
                other => Ok(other),
            })
        })?;
        let owner = match attempt {
            Ok(Ok(socket)) => return Ok(Lock { _socket: socket }),
            Ok(Err(errno)) => return Err(unusable("a local socket could not be bound", errno)),
            Err(owner) => owner,
        };
        match owner {
            Ok(user) if user != prctl::user() => {
                return Err(occupied(&format!("user {user}"), &name));
            }
            Err(Errno::CONNREFUSED) => refusals += 1,
            Err(Errno::PROTOTYPE) => refusals = REFUSALS,
            _ => refusals = 0,
        }
        if refusals >= REFUSALS {
            return Err(occupied("a program that does not say whose it is", &name));
        }
        if Instant::now() > deadline {
            return Err(EngineError::Names(format!(
                "another process holds the socket '@{name}' for more than {} seconds: is it stopped?",
                PATIENCE.as_secs()
            )));
        }
        pause(Duration::from_millis(1));
    }
}

fn occupied(by: &str, name: &str) -> EngineError {
    EngineError::Names(format!(
        "{by} occupies the socket name '@{name}', by which processes of this user take turns: \
         end the process that has it (ss -xap)"
    ))
}

fn unusable(what: &str, errno: Errno) -> EngineError {
    EngineError::Names(format!("{what}: {errno}"))
}

/// FNV-1a: only spreads names; equality is decided by the header.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_windows_reads_them() {
        let full = |text: &str| Name::parse(text).map(|name| name.full());
        assert_eq!(full("orders").unwrap(), "Local\\orders");
        assert_eq!(full("Local\\orders").unwrap(), "Local\\orders");
        assert_eq!(full("Global\\Orders").unwrap(), "Global\\Orders");
        for bad in ["", "Local\\", "local\\x", "a\\b", "Global\\a\\b", "a\0b"] {
            assert_eq!(full(bad).err(), Some(Refusal::NameInvalid), "{bad:?}");
        }
        assert!(full(&"x".repeat(260)).is_ok());
        assert!(full(&"x".repeat(261)).is_err());
    }

    #[test]
    fn who_occupies_the_lock_and_does_not_say_who_he_is_is_reported() {
        let name = format!("pagekeeper-test/{}/lock", std::process::id());
        let stranger = Announcement::bind(name.as_bytes()).unwrap();
        let Err(EngineError::Names(why)) = lock_named(name.clone()) else {
            panic!("the lock was had twice");
        };
        assert!(why.contains("does not say whose it is"), "{why}");
        drop(stranger);
        let held = lock_named(name.clone()).unwrap();
        // It is not the program's, and waiting for it is waiting for its end.
        let waiting = std::thread::spawn(move || lock_named(name));
        drop(held);
        drop(waiting.join().unwrap().unwrap());
    }

    #[test]
    fn an_announcement_fits_and_is_read_back() {
        let place = Place {
            thread: u32::MAX,
            number: 16_383,
            device: u64::MAX >> 8,
            inode: u64::MAX,
        };
        let text = format!(
            "{}/{}/{:x}.{:x}/0",
            place.thread, place.number, place.device, place.inode
        );
        assert_eq!(Place::parse(&text), Some(place));
        let longest = format!("pagekeeper/s1/{}/{:016x}/{text}", u32::MAX, u64::MAX);
        assert!(longest.len() <= announce::LONGEST_NAME, "{}", longest.len());
        assert_eq!(Place::parse("1/2/3"), None);
    }
}
