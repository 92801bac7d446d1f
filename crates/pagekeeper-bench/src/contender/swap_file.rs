//! Kernel swap on a file, in a control group: anonymous memory that the kernel pages.

use pagekeeper_sys::map::Treatment;
use pagekeeper_units::ByteCount;

use super::{Contender, Memory, Place, Stage, plain};
use crate::kernel::{Cgroup, SwapSpace};

pub(super) struct SwapFile;

impl Contender for SwapFile {
    fn describe(&self) -> &'static str {
        "anonymous memory in a memory control group with that limit, kernel swap on a file on the same disk as our page file, kernel settings as found"
    }

    fn prepare(&self, place: &Place, data: ByteCount) -> Result<Stage, String> {
        // The group first: without the right to make one there is no need for a file.
        let cgroup = Some(Cgroup::create(place.ram)?);
        let swap = Some(SwapSpace::on_file(&place.folder, swap_size(data))?);
        Ok(Stage {
            cgroup,
            swap,
            zram: None,
        })
    }

    fn map(&self, _place: &Place, data: ByteCount) -> anyhow::Result<Box<dyn Memory>> {
        plain::map_anonymous(data, Treatment::empty())
    }
}

/// Room for all data, and a little for everybody else in the machine.
pub(super) fn swap_size(data: ByteCount) -> ByteCount {
    ByteCount::new((data.get() + data.get() / 8 + (16 << 20)).next_multiple_of(4096))
}
