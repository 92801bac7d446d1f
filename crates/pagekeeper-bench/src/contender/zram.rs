//! Kernel swap on zram with lz4, in a control group. The limit covers what is not compressed; the pool comes on top, and
//! the bench chooses the limit so that both together are the RAM that others have.

use pagekeeper_sys::map::Treatment;
use pagekeeper_units::ByteCount;

use super::{Contender, Memory, Place, Stage, plain, swap_file};
use crate::kernel::{Cgroup, SwapSpace, ZramDevice};

pub(super) struct SwapZram;

impl Contender for SwapZram {
    fn describe(&self) -> &'static str {
        "anonymous memory in a memory control group, kernel swap on zram with lz4; the limit is the RAM less zram's pool, so that both together are what the others have"
    }

    fn prepare(&self, place: &Place, data: ByteCount) -> Result<Stage, String> {
        let cgroup = Some(Cgroup::create(place.ram)?);
        let zram = ZramDevice::create(swap_file::swap_size(data), "lz4")?;
        let swap = Some(SwapSpace::on_zram(&zram)?);
        Ok(Stage {
            cgroup,
            swap,
            zram: Some(zram),
        })
    }

    fn map(&self, _place: &Place, data: ByteCount) -> anyhow::Result<Box<dyn Memory>> {
        plain::map_anonymous(data, Treatment::empty())
    }
}
