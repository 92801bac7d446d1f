//! Who has how much: the engines of a space, the RAM of each, and what the page files have to hold.
//!
//! Commit is a promise, so every engine says how many pages of its RAM may be promised, and for the rest space is
//! really allocated in the page files before a commit succeeds. The commit limit is the sum of both.

mod again;
mod files;
mod kinds;
mod views;

use std::sync::Arc;

use pagekeeper_model::EngineTag;
use pagekeeper_store::page_file::{PageFileError, PageFiles};
use pagekeeper_sys::probe::{Feature, Switches};
use pagekeeper_units::{ByteCount, PageCount};

use self::kinds::{least_ram, promisable};
use super::Request;
use super::shares::{self, Claim};
use crate::engine::inline::InlineEngine;
use crate::engine::mapped::{MappedEngine, MappedSettings, MappedSwitches};
use crate::engine::resident::ResidentEngine;
use crate::engine::views::ViewEngine;
use crate::engine::{Engine, EngineBudget, EngineKind};
use crate::error::{EngineError, Error, SettingsError};
use crate::settings::Settings;

/// The tags of the engines that all reservations share are their kinds; own budgets get tags from here on.
const FIRST_OWN: usize = 4;

/// An engine and its account.
struct Account {
    engine: Arc<dyn Engine>,
    /// RAM that it was given.
    ram: PageCount,
    /// RAM that commit may count on.
    promisable: PageCount,
    /// Pages committed with it.
    charged: PageCount,
}

/// See the module text.
pub(crate) struct Ledger {
    space: u64,
    ram: PageCount,
    files: Arc<PageFiles>,
    anonymous_share_percent: u8,
    /// The inline engine's fixed part where both engines are used; `None`: shares follow use.
    inline_share_percent: Option<u8>,
    allow_ram_disk: bool,
    /// The engine of views, once there was one.
    views: Option<Arc<ViewEngine>>,
    accounts: Vec<Option<Account>>,
    /// Pages that the page files can hold for certain (grows in steps).
    stored_at_most: PageCount,
    /// The page files' count of changes that was followed last.
    followed: u64,
}

impl Ledger {
    pub(crate) fn new(
        space: u64,
        ram: PageCount,
        files: Arc<PageFiles>,
        settings: &Settings,
    ) -> Self {
        let stored_at_most = files.usable();
        Self {
            space,
            ram,
            files,
            anonymous_share_percent: settings.anonymous_share_percent,
            inline_share_percent: settings.inline_share_percent,
            allow_ram_disk: settings.page_file.allow_ram_disk,
            views: None,
            accounts: (0..FIRST_OWN).map(|_| None).collect(),
            stored_at_most,
            followed: 0,
        }
    }

    /// The tag of a shared engine that runs already.
    pub(crate) fn started(&self, kind: EngineKind) -> Option<EngineTag> {
        let tag = kind as usize;
        self.accounts.get(tag)?.as_ref()?;
        Some(EngineTag(tag as u8))
    }

    /// The tag of a shared engine, which is started if need be.
    pub(crate) fn start(&mut self, kind: EngineKind) -> Result<EngineTag, Error> {
        let tag = kind as usize;
        if self.accounts[tag].is_none() {
            let ram = self.share_for(kind)?;
            let account = if kind == EngineKind::Views {
                self.open_views(ram)
            } else {
                self.open_account(kind, ram)?
            };
            self.accounts[tag] = Some(account);
            if let Err(error) = self.share_out() {
                self.accounts[tag] = None;
                return Err(Request::new("start the engine", 0, 0).no_page_file(&error, ram));
            }
        }
        Ok(EngineTag(tag as u8))
    }

    /// An engine of its own with a budget of its own, which the shared engines lose.
    pub(crate) fn start_own(
        &mut self,
        kind: EngineKind,
        ram: PageCount,
    ) -> Result<EngineTag, Error> {
        let left = self.shared_ram().saturating_sub(ram);
        let least: PageCount = self.shared_kinds().map(least_ram).sum();
        if left < least {
            let given = ByteCount::new(self.shared_ram().bytes().get());
            let least = (least + ram).bytes();
            return Err(SettingsError::BudgetTooSmall { given, least }.into());
        }
        let account = self.open_account(kind, ram)?;
        let free = (FIRST_OWN..self.accounts.len()).find(|tag| self.accounts[*tag].is_none());
        let tag = free.unwrap_or(self.accounts.len());
        let tag_byte = u8::try_from(tag).map_err(|_| {
            Request::new("reserve with its own budget", 0, 0).failed(EngineError::Unavailable {
                engine: kind.name(),
                reason: "a space has at most 253 reservations with their own budget".to_owned(),
            })
        })?;
        if tag == self.accounts.len() {
            self.accounts.push(None);
        }
        self.accounts[tag] = Some(account);
        if let Err(error) = self.share_out() {
            self.accounts[tag] = None;
            let request = Request::new("reserve with its own budget", 0, ram.bytes().get());
            return Err(request.no_page_file(&error, ram));
        }
        Ok(EngineTag(tag_byte))
    }

    /// In a forked child: the engines are the parent's; nothing of them may be run down here.
    pub(crate) fn forget(&mut self) {
        for account in self.accounts.drain(..) {
            core::mem::forget(account);
        }
    }

    /// Whether the engine serves one reservation only.
    pub(crate) const fn is_own(tag: EngineTag) -> bool {
        tag.0 as usize >= FIRST_OWN
    }

    /// The reservation of an own engine has gone: its RAM goes back to the shared ones.
    pub(crate) fn stop_own(&mut self, tag: EngineTag) {
        if Self::is_own(tag)
            && let Some(account) = self.accounts.get_mut(tag.0 as usize)
        {
            *account = None;
            // The others only gain.
            let _ = self.share_out();
        }
    }

    fn open_account(&self, kind: EngineKind, ram: PageCount) -> Result<Account, Error> {
        let least = least_ram(kind);
        if ram < least {
            let given = ram.bytes();
            return Err(SettingsError::BudgetTooSmall {
                given,
                least: least.bytes(),
            }
            .into());
        }
        let request = Request::new("start the engine", 0, 0);
        let engine: Arc<dyn Engine> = match kind {
            EngineKind::Inline => Arc::new(
                InlineEngine::new(self.space, ram, Arc::clone(&self.files))
                    .map_err(|cause| request.failed(cause))?,
            ),
            EngineKind::Mapped => {
                let settings = self.mapped_settings(ram);
                MappedEngine::new(settings).map_err(|cause| request.failed(cause))?
            }
            EngineKind::Resident => ResidentEngine::new(self.ram, mapped_switches())
                .map_err(|cause| request.failed(cause))?,
            EngineKind::Views => return Err(SettingsError::UnknownEngine(kind.to_string()).into()),
        };
        let promisable = promisable(kind, ram, self.anonymous_share_percent);
        Ok(Account {
            engine,
            ram,
            promisable,
            charged: PageCount::ZERO,
        })
    }

    /// The mapped engine makes page files of its own, in the places of the others and as large: it maps them, and hands
    /// out pieces instead of slots.
    fn mapped_settings(&self, ram: PageCount) -> MappedSettings {
        let usage = self.files.usage();
        let maximum = usage.iter().map(|file| file.maximum.pages()).min();
        MappedSettings {
            ram,
            anonymous_share_percent: self.anonymous_share_percent,
            places: usage
                .into_iter()
                .filter(|file| !file.retiring)
                .map(|file| file.place)
                .collect(),
            maximum_file: maximum.unwrap_or_default(),
            allow_ram_disk: self.allow_ram_disk,
            switches: mapped_switches(),
        }
    }

    /// The space's number.
    pub(crate) const fn space(&self) -> u64 {
        self.space
    }

    pub(crate) fn engine(&self, tag: EngineTag) -> Option<&Arc<dyn Engine>> {
        Some(&self.accounts.get(tag.0 as usize)?.as_ref()?.engine)
    }

    /// All engines with the RAM that each was given.
    pub(crate) fn engines(&self) -> impl Iterator<Item = (&Arc<dyn Engine>, PageCount)> {
        self.accounts
            .iter()
            .flatten()
            .map(|account| (&account.engine, account.ram))
    }

    /// Pages that may be committed in all.
    pub(crate) fn commit_limit(&self) -> PageCount {
        let ram: PageCount = self
            .accounts
            .iter()
            .flatten()
            .map(|account| account.promisable)
            .sum();
        ram + self.files.maximum()
    }

    /// Makes sure that `more` pages of the engine can be kept, whatever happens to them: in its RAM or in the page
    /// files. The mapped engine allocates for itself. Says whether RAM moved between engines, and with it the limit.
    pub(crate) fn promise(
        &mut self,
        request: Request,
        tag: EngineTag,
        more: PageCount,
    ) -> Result<bool, Error> {
        if more.is_zero() {
            return Ok(false);
        }
        // As if it were committed already: the engine is to have the RAM when it carries the commit out.
        self.charge(tag, more, PageCount::ZERO);
        let moved = self.follow_use();
        self.charge(tag, PageCount::ZERO, more);
        let Some(Some(account)) = self.accounts.get(tag.0 as usize) else {
            return Ok(moved);
        };
        if account.engine.kind() != EngineKind::Inline {
            return Ok(moved);
        }
        let uncovered = (account.charged + more).saturating_sub(account.promisable);
        if uncovered.is_zero() {
            return Ok(moved);
        }
        let others: PageCount = self.uncovered_except(Some(tag));
        let wanted = others + uncovered;
        if wanted > self.stored_at_most {
            self.stored_at_most = self
                .grow_files(wanted)
                .map_err(|error| request.no_page_file(&error, more))?;
        }
        Ok(moved)
    }

    /// Records a change of what is committed with an engine.
    pub(crate) fn charge(&mut self, tag: EngineTag, more: PageCount, fewer: PageCount) {
        if tag.0 == EngineKind::Views as u8 {
            return;
        }
        if let Some(Some(account)) = self.accounts.get_mut(tag.0 as usize) {
            account.charged = (account.charged + more).saturating_sub(fewer);
        }
    }

    /// A new budget for the whole space.
    pub(crate) fn set_ram(&mut self, ram: PageCount) -> Result<(), Error> {
        let own = self.own_ram();
        let least: PageCount = self.shared_kinds().map(least_ram).sum::<PageCount>() + own;
        if ram < least {
            return Err(SettingsError::BudgetTooSmall {
                given: ram.bytes(),
                least: least.bytes(),
            }
            .into());
        }
        let before = core::mem::replace(&mut self.ram, ram);
        self.share_out().map_err(|error| {
            self.ram = before;
            Request::new("set the RAM budget", 0, ram.bytes().get()).no_page_file(&error, ram)
        })
    }

    pub(crate) fn ram(&self) -> PageCount {
        self.ram
    }

    fn own_ram(&self) -> PageCount {
        self.accounts
            .iter()
            .skip(FIRST_OWN)
            .flatten()
            .map(|account| account.ram)
            .sum()
    }

    fn shared_ram(&self) -> PageCount {
        self.ram.saturating_sub(self.own_ram())
    }

    fn shared_kinds(&self) -> impl Iterator<Item = EngineKind> {
        self.accounts
            .iter()
            .take(FIRST_OWN)
            .flatten()
            .map(|account| account.engine.kind())
    }

    /// What a shared engine says about its share.
    fn claim(&self, kind: EngineKind, account: Option<&Account>) -> Claim {
        Claim {
            least: least_ram(kind),
            pinned: account.map_or(PageCount::ZERO, |account| account.engine.unmovable()),
            // Views may be far larger than what is ever touched of them: they count as one RAM at most.
            committed: account.map_or(PageCount::ZERO, |account| match kind {
                EngineKind::Views => account.charged.min(self.ram),
                _ => account.charged,
            }),
            fixed_percent: self.inline_share_percent.map(|percent| match kind {
                EngineKind::Inline => percent,
                _ => 100 - percent,
            }),
        }
    }

    /// The shared engines that page, with their accounts.
    fn paging(&self) -> impl Iterator<Item = (usize, &Account)> {
        self.accounts
            .iter()
            .take(FIRST_OWN)
            .enumerate()
            .filter_map(|(tag, account)| Some((tag, account.as_ref()?)))
            .filter(|(_, account)| account.engine.kind() != EngineKind::Resident)
    }

    /// What an engine that is about to start would get. Refused where the minima of all do not fit.
    fn share_for(&self, kind: EngineKind) -> Result<PageCount, Error> {
        if kind == EngineKind::Resident {
            return Ok(PageCount::ZERO);
        }
        let mut claims = vec![self.claim(kind, None)];
        claims.extend(
            self.paging()
                .map(|(_, account)| self.claim(account.engine.kind(), Some(account))),
        );
        let least: PageCount = claims.iter().map(|claim| claim.least).sum();
        if least > self.shared_ram() {
            return Err(SettingsError::BudgetTooSmall {
                given: self.shared_ram().bytes(),
                least: least.bytes(),
            }
            .into());
        }
        let shares = shares::divide(self.shared_ram(), &claims);
        Ok(shares.first().copied().unwrap_or_default())
    }

    /// The share of each shared engine that pages, by tag.
    fn shares(&self) -> Vec<(usize, PageCount)> {
        let (tags, claims): (Vec<usize>, Vec<Claim>) = self
            .paging()
            .map(|(tag, account)| (tag, self.claim(account.engine.kind(), Some(account))))
            .unzip();
        let shares = shares::divide(self.shared_ram(), &claims);
        tags.into_iter().zip(shares).collect()
    }

    /// Lets the shares follow use, if that is worth a move; says whether they moved. Where the page files cannot take
    /// what would have to leave, everything stays as it is.
    pub(crate) fn follow_use(&mut self) -> bool {
        if self.paging().nth(1).is_none() {
            return false;
        }
        let ram = self.shared_ram();
        let moves = self.shares().into_iter().any(|(tag, share)| {
            let account = self.accounts.get(tag).and_then(Option::as_ref);
            account.is_some_and(|account| shares::is_worth_moving(ram, account.ram, share))
        });
        moves && self.share_out().is_ok()
    }

    /// Divides the RAM among the shared engines that page, as [`shares`] says. What then has to be kept in the page
    /// files is promised there first, since pages leave at once.
    fn share_out(&mut self) -> Result<(), PageFileError> {
        let shares = self.shares();
        let percent = self.anonymous_share_percent;
        let new_share = |tag: usize| {
            let mut found = shares.iter().filter(|(of, _)| *of == tag);
            found.next().map(|&(_, share)| share)
        };
        let accounts = self.accounts.iter().enumerate();
        let wanted: PageCount = accounts
            .filter_map(|(tag, account)| Some((tag, account.as_ref()?)))
            .filter(|(_, account)| account.engine.kind() == EngineKind::Inline)
            .map(|(tag, account)| {
                let promisable = new_share(tag).map_or(account.promisable, |share| {
                    promisable(EngineKind::Inline, share, percent)
                });
                account.charged.saturating_sub(promisable)
            })
            .sum();
        if wanted > self.stored_at_most {
            self.stored_at_most = self.grow_files(wanted)?;
        }
        // Who loses goes first, so that the sum never exceeds the budget.
        for loses in [true, false] {
            for &(tag, share) in &shares {
                let Some(Some(account)) = self.accounts.get_mut(tag) else {
                    continue;
                };
                if account.ram == share || (share < account.ram) != loses {
                    continue;
                }
                account.ram = share;
                account.promisable = promisable(account.engine.kind(), share, percent);
                account.engine.set_budget(EngineBudget { ram: share });
            }
        }
        Ok(())
    }
}

/// What `PAGEKEEPER_DISABLE` leaves of the features that the mapped engine uses.
fn mapped_switches() -> MappedSwitches {
    let switches = Switches::from_environment().unwrap_or_default();
    MappedSwitches {
        markers: !switches.is_off(Feature::Guard),
        cachestat: !switches.is_off(Feature::Cachestat),
    }
}
