//! The live source: a process that uses Pagekeeper tells what it is doing.
//!
//! Every such process has a small file in memory, readable by its user and root, which a reader finds in `/proc/PID/fd`
//! without knowing anything. Nothing is written into it until somebody asks: a reader moves a word on and wakes a thread of
//! the process (`pk-live`), which writes down what is asked for; the reader copies it out and looks at a sequence number
//! before and afterwards. So a process that nobody looks at spends nothing, figures are as fresh as the question, and one
//! that is stopped still shows what it said last. The program's threads notice none of it: counters are those that exist
//! anyway, regions are listed in small pieces with the space lock free in between, pages are looked up without any lock.
//! See `docs/decisions/0020-live-source.md`.
//!
//! | file | what |
//! |---|---|
//! | [`layout`] | the words of the first page, and what lies where behind it |
//! | [`record`] | figures and a region as bytes |
//! | [`listing`] | all regions as bytes, and what else lies in the address space |
//! | [`collect`] | figures and regions of all spaces of this process |
//! | [`merge`] | many regions told as fewer |
//! | [`publish`] | the thread that answers |
//! | [`requests`] | one page: where it is, and what it holds |
//! | [`ask`] | the reader's side |

pub(super) mod ask;
pub(super) mod collect;
mod layout;
pub(super) mod listing;
mod merge;
mod publish;
pub(super) mod record;
pub(super) mod requests;

pub(crate) use publish::start;
