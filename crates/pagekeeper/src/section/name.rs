//! Names of sections, without any registry ([decision 0018](../../../../docs/decisions/0018-sections-and-views.md)).
//!
//! Whoever has a handle to a named section announces where its file is to be found: an abstract socket whose name holds the
//! user, a hash of the section's name, the process, the descriptor's number and the file's identity. Who looks for the name
//! believes nothing of that but where to look.

use core::time::Duration;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use pagekeeper_model::Refusal;
use pagekeeper_sys::announce::{self, Announcement};
use pagekeeper_sys::time::pause;
use pagekeeper_sys::{Errno, file, prctl};

use crate::engine::views::{Header, LONGEST_NAME, Source};
use crate::error::EngineError;

/// The longest name in characters, without what stands in front.
const LONGEST: usize = 260;
/// How long the lock is waited for: it is held for a look-up and the allocation of a section's room.
const PATIENCE: Duration = Duration::from_secs(30);

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
    _announcement: Announcement,
}

impl Held {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
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

    /// Announces it for a section of this process.
    pub(super) fn hold(&self, source: &Source) -> Result<Held, EngineError> {
        let (device, inode) = source.identity();
        let (process, number) = (std::process::id(), source.number());
        // A process may have several handles to one section: the first free count is taken.
        for count in 0..1000 {
            let name = format!(
                "{}{process}/{number}/{device:x}.{inode:x}/{count}",
                self.prefix()
            );
            match Announcement::bind(name.as_bytes()) {
                Ok(announcement) => {
                    return Ok(Held {
                        name: self.full(),
                        _announcement: announcement,
                    });
                }
                Err(Errno::ADDRINUSE) => {}
                Err(errno) => return Err(unusable("a local socket could not be bound", errno)),
            }
        }
        Err(EngineError::Names(
            "this process has too many handles to one section".to_owned(),
        ))
    }

    /// The section that has the name, if somebody has it.
    pub(super) fn find(&self) -> Result<Option<(OwnedFd, Header)>, EngineError> {
        let prefix = self.prefix();
        let names = announce::names(&prefix)
            .map_err(|errno| unusable("/proc/net/unix cannot be read", errno))?;
        Ok(names
            .iter()
            .filter_map(|name| Place::parse(name.strip_prefix(&prefix)?))
            .find_map(|place| place.open(&self.full())))
    }
}

/// Where an announcement says that a section's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    process: u32,
    number: u32,
    device: u64,
    inode: u64,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let process = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let (device, inode) = parts.next()?.split_once('.')?;
        Some(Self {
            process,
            number,
            device: u64::from_str_radix(device, 16).ok()?,
            inode: u64::from_str_radix(inode, 16).ok()?,
        })
    }

    /// Opens the file, and believes it to be the section `name` only if everything says so.
    fn open(self, name: &str) -> Option<(OwnedFd, Header)> {
        let file = file::of_process(self.process, self.number).ok()?;
        let facts = file::facts(&file).ok()?;
        let is_ours = facts.is_regular
            && facts.owner == prctl::user()
            && facts.permissions & 0o077 == 0
            && (facts.device, facts.inode) == (self.device, self.inode);
        if !is_ours {
            return None;
        }
        let header = Header::open(file.as_fd()).ok()??;
        (header.facts().name == name).then_some((file, header))
    }
}

/// While it lives, no other process of this user makes or looks for a named section.
pub(super) fn lock() -> Result<Announcement, EngineError> {
    let name = format!("pagekeeper/lock/{}", prctl::user());
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Announcement::bind_with_owner(name.as_bytes()) {
            Ok(lock) => return Ok(lock),
            Err(Errno::ADDRINUSE) => {}
            Err(errno) => return Err(unusable("a local socket could not be bound", errno)),
        }
        match announce::owner_of(name.as_bytes()) {
            Ok(user) if user != prctl::user() => {
                return Err(EngineError::Names(format!(
                    "user {user} occupies the socket name '@{name}', by which processes of this user take turns: \
                     end the process that has it (ss -xlp)"
                )));
            }
            _ if Instant::now() > deadline => {
                return Err(EngineError::Names(format!(
                    "another process holds the socket '@{name}' for more than {} seconds: is it stopped?",
                    PATIENCE.as_secs()
                )));
            }
            _ => pause(Duration::from_millis(1)),
        }
    }
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
    fn an_announcement_fits_and_is_read_back() {
        let place = Place {
            process: u32::MAX,
            number: 16_383,
            device: u64::MAX >> 8,
            inode: u64::MAX,
        };
        let text = format!(
            "{}/{}/{:x}.{:x}/0",
            place.process, place.number, place.device, place.inode
        );
        assert_eq!(Place::parse(&text), Some(place));
        let longest = format!("pagekeeper/s1/{}/{:016x}/{text}", u32::MAX, u64::MAX);
        assert!(longest.len() <= announce::LONGEST_NAME, "{}", longest.len());
        assert_eq!(Place::parse("1/2/3"), None);
    }
}
