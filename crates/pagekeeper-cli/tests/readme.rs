//! The example of the README, compiled and run. `tidy.rs` checks that both are the same text.

use pagekeeper::{ByteCount, PagedVec, Space};

fn main() -> Result<(), pagekeeper::Error> {
    // 16 MiB of RAM; what does not fit is compressed, and then goes to a page file.
    let space = Space::builder().ram(ByteCount::mib(16)).build()?;

    // Address space for 4 billion numbers costs nothing. Elements never move.
    let mut squares = PagedVec::<u64>::with_capacity(&space, 1 << 32)?;
    for number in 0..8_000_000 {
        squares.push(number * number)?; // refused, not killed, when no more can be promised
    }

    // An ordinary slice, four times larger than its RAM.
    assert_eq!(squares[7_999_999], 7_999_999 * 7_999_999);
    assert!(
        squares
            .iter()
            .enumerate()
            .all(|(number, square)| *square == (number * number) as u64)
    );

    let status = space.status();
    println!(
        "{} committed in {} of RAM",
        status.committed.human(),
        status.budget.human()
    );
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("it works");
}
