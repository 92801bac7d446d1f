//! What the picture of an address space ([`crate::map`]) and the page in the browser ([`crate::serve`]) are both made of.
//!
//! | module | what |
//! |---|---|
//! | [`document`] | a snapshot or a recording as a file: JSON with a version |
//! | [`change`] | what differs between two looks at one process |
//! | [`palette`] | names and colours of kinds of memory and of places of pages |
//! | [`page`] | one HTML page out of scripts, styles and data, with nothing fetched from anywhere |

mod change;
mod document;
mod page;
mod palette;

pub(crate) use change::Later;
pub(crate) use document::Document;
pub(crate) use page::{Body, SECURITY_POLICY, escaped, html};
pub(crate) use palette::{KINDS, PAGE, PLACES, colour_of, describe};
