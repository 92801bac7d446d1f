//! Where a page goes when it leaves memory.
//!
//! Floor 2: formats and places, no policy. What leaves is packed ([`codec`]) into the compressed
//! pool in RAM ([`pool`]), or stored in a slot of a page file ([`page_file`]) with its [`checksum`]
//! kept in RAM.
//!
//! | module | what |
//! |---|---|
//! | [`codec`] | same-filled pages as a word, others by LZ4 |
//! | [`checksum`] | 48 bits of a keyed hash: notices other bytes, recognises unchanged pages |
//! | [`pool`] | packed pages in RAM, in blocks that count against the budget |
//! | `slots` | which slots of a page file are free |
//! | [`page_file`] | settings, files, growth, transfers, taking files away |
//!
//! What the fault path calls says so. It is called with all signals blocked, allocates nothing,
//! formats nothing and does not panic.

pub mod checksum;
pub mod codec;
#[cfg(test)]
mod figures;
pub mod page_file;
pub mod pool;
mod slots;
mod sync;
#[cfg(test)]
mod testing;
