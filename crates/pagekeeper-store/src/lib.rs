//! Where a page goes when it leaves memory.

pub mod checksum;
pub mod codec;
pub mod pool;
mod slots;
mod sync;
#[cfg(test)]
mod testing;
