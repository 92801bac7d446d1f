//! The comparisons.
fn main() {}
