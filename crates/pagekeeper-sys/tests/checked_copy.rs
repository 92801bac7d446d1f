//! Copies that fail instead of faulting. In a process of its own, since it installs a fault handler.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands bad addresses to the copies on purpose"
)]

use pagekeeper_sys::checked_copy::{copy_checked, give_up, is_writable};
use pagekeeper_sys::map::{Access, Treatment, protect, reserve};
use pagekeeper_sys::signal::{self, Decision, FaultInfo};
use pagekeeper_units::{PageCount, PageRange};

fn client(fault: &mut FaultInfo<'_>) -> Decision {
    if give_up(fault) {
        Decision::Retry
    } else {
        Decision::NotMine
    }
}

#[test]
fn a_copy_stops_where_the_memory_ends() {
    // SAFETY: the client only looks at the instruction's address.
    unsafe { signal::install(client) }.expect("installed");
    let area =
        reserve(PageCount::new(2), Access::READ_WRITE, Treatment::empty()).expect("two pages");
    let second = PageRange::new(area.page(1), PageCount::ONE);
    // SAFETY: nobody has a reference into the area.
    unsafe { protect(second, Access::NONE) }.expect("protected");
    let bytes = [7_u8; 64];
    let edge = area.base().wrapping_add(4096);
    // SAFETY: the handler above catches what is bad.
    unsafe {
        assert_eq!(copy_checked(edge.wrapping_sub(64), bytes.as_ptr(), 64), 0);
        assert_eq!(copy_checked(edge.wrapping_sub(40), bytes.as_ptr(), 64), 24);
        assert_eq!(copy_checked(edge, bytes.as_ptr(), 64), 64);
        assert_eq!(copy_checked(core::ptr::null_mut(), bytes.as_ptr(), 1), 1);
        let no_address = 0x8000_0000_0000_0000_usize as *mut u8;
        assert_eq!(copy_checked(no_address, bytes.as_ptr(), 8), 8);
        let mut back = [0_u8; 64];
        assert_eq!(
            copy_checked(back.as_mut_ptr(), edge.wrapping_sub(32), 64),
            32
        );
        assert_eq!(back[..32], [7; 32]);
        assert!(is_writable(edge.wrapping_sub(1)));
        assert!(!is_writable(edge));
        assert!(!is_writable(no_address));
        assert!(!is_writable(b"constant".as_ptr().cast_mut()));
    }
}
