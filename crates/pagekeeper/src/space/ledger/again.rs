//! The same engines again, in a forked child.

use std::sync::Arc;

use pagekeeper_store::page_file::PageFiles;

use super::{Ledger, Request};
use crate::engine::EngineKind;
use crate::error::Error;

impl Ledger {
    /// In a forked child that has copies: engines like the parent's, of its own, with room in `files` for all that is
    /// committed. Nothing is committed with them yet. On an error the ledger has no engines any more.
    pub(crate) fn start_again(&mut self, files: &Arc<PageFiles>) -> Result<(), Error> {
        self.files = Arc::clone(files);
        let before = core::mem::take(&mut self.accounts);
        for account in before {
            let again = account
                .as_ref()
                .map(|account| (account.engine.kind(), account.ram, account.charged));
            core::mem::forget(account);
            let mut fresh = None;
            if let Some((EngineKind::Views, ram, _)) = again {
                // Its views are the parent's: the child has none.
                core::mem::forget(self.views.take());
                fresh = Some(self.open_views(ram));
            } else if let Some((kind, ram, charged)) = again {
                let mut account = self.open_account(kind, ram)?;
                account.charged = charged;
                fresh = Some(account);
            }
            self.accounts.push(fresh);
        }
        self.followed = files.changes();
        let wanted = self.uncovered_except(None);
        self.stored_at_most = self.grow_files(wanted).map_err(|error| {
            Request::new("copy for a forked child", 0, wanted.bytes().get())
                .no_page_file(&error, wanted)
        })?;
        Ok(())
    }
}
