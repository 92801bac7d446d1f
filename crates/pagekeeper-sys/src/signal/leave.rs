//! Leaving a signal frame: the thread goes on elsewhere, the frame stays valid for the way back.
//!
//! The handler runs on the alternate stack, which belongs to whoever faults next on this thread; nothing may
//! stay there. So the frame that the kernel built (registers, extended state, information) is copied to the
//! thread's own stack, below the red zone, laid out exactly as the kernel would have done without an
//! alternate stack. Then the stack pointer is set to the copy and a *body* is entered as if the kernel had
//! called it as a handler there. Its return runs `rt_sigreturn` on the copy, which restores everything;
//! debuggers and unwinders recognise the frame. A body that never returns leaks nothing: to the kernel a
//! thread is on its alternate stack only as long as its stack pointer points there.
//!
//! If the kernel did not switch stacks (no alternate stack, or the fault happened on it already), its frame
//! lies directly below the interrupted stack pointer and is used where it is.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: copies a signal frame to another stack and continues there"
)]

use core::arch::naked_asm;
use core::ptr;

use linux_raw_sys::general::__NR_rt_sigprocmask;

use super::calls::{restorer, set_alternate_stack};
use super::context::{Context, SigInfo};
use crate::raw;

/// What runs after the frame was left: the context and the information where they are now, and two words.
pub(super) type Body = unsafe extern "C-unwind" fn(*mut Context, *mut SigInfo, usize, usize);

/// The thread's own stack has no room.
pub(super) struct NoRoom;

/// A signal frame as the kernel lays it out (`struct rt_sigframe`).
#[repr(C)]
struct SignalFrame {
    return_address: usize,
    context: Context,
    information: SigInfo,
}

const _: () = assert!(size_of::<SignalFrame>() == 440);

/// The bytes below the stack pointer that a leaf function may use without moving it.
const RED_ZONE: usize = 128;
/// The extended state's alignment.
const EXTENDED_ALIGNMENT: usize = 64;
const PAGE: usize = 4096;

/// Whether the kernel built the frame on the stack that was interrupted.
pub(super) fn is_on_interrupted_stack(context: &Context) -> bool {
    let (_, extended) = context.extended_range();
    let frame = ptr::from_ref(context) as usize;
    let distance = (context.registers.rsp as usize).wrapping_sub(frame);
    // Frame, extended state, red zone and the padding between them.
    distance < size_of::<SignalFrame>() + extended + RED_ZONE + 4 * EXTENDED_ALIGNMENT
}

/// Leaves the frame and continues at `body`, with at least `room` bytes of stack below. Comes back only if
/// the thread's stack has no such room; nothing has changed then, except bytes below its red zone.
///
/// # Safety
/// 1. `context` and `information` are those of the handler that calls this, all signals are blocked.
/// 2. No destructor is pending in the frames of the handler: they are abandoned.
pub(super) unsafe fn leave(
    context: &mut Context,
    information: &SigInfo,
    room: usize,
    body: Body,
    words: [usize; 2],
) -> NoRoom {
    if is_on_interrupted_stack(context) {
        // SAFETY: Passed on.
        unsafe { leave_in_place(context, information, room, body, words) }
    } else {
        // SAFETY: Passed on.
        unsafe { leave_by_copy(context, information, room, body, words) }
    }
}

/// As [`leave`], with the kernel's frame staying where it is.
unsafe fn leave_in_place(
    context: &mut Context,
    information: &SigInfo,
    room: usize,
    body: Body,
    words: [usize; 2],
) -> NoRoom {
    let context: *mut Context = context;
    let frame = context as usize - size_of::<usize>();
    // SAFETY: The caller's context is live.
    let stack = unsafe { (*context).stack };
    // Below an alternate stack lies something else, which may well be writable.
    let enough = if stack.contains(frame) {
        frame - stack.base >= room
    } else {
        has_room(frame, room)
    };
    if !enough {
        return NoRoom;
    }
    // SAFETY: The frame is the kernel's, its first word is the return address, and all below it is ours
    // now that the handler's frames are abandoned.
    unsafe {
        (frame as *mut usize).write(restorer());
        continue_at(
            frame,
            context,
            ptr::from_ref(information).cast_mut(),
            body,
            words[0],
            words[1],
        )
    }
}

/// As [`leave`], with the frame copied to the interrupted stack.
unsafe fn leave_by_copy(
    context: &mut Context,
    information: &SigInfo,
    room: usize,
    body: Body,
    words: [usize; 2],
) -> NoRoom {
    let (extended, extended_size) = context.extended_range();
    let Some((extended_copy, frame)) = place(context.registers.rsp as usize, extended_size) else {
        return NoRoom;
    };
    let top = context.registers.rsp as usize - RED_ZONE;
    if !has_room(top, top - frame + room) {
        return NoRoom;
    }
    let copy = frame as *mut SignalFrame;
    // SAFETY: 1. The memory from `frame` to the red zone was found writable and is unused: below the stack
    // pointer nothing lives. 2. Source and destination are different stacks. 3. The frame has the alignment
    // that a function expects at its entry: 8 below a multiple of 16.
    unsafe {
        if extended_size != 0 {
            ptr::copy_nonoverlapping(extended, extended_copy as *mut u8, extended_size);
        }
        (&raw mut (*copy).return_address).write(restorer());
        ptr::copy_nonoverlapping(context, &raw mut (*copy).context, 1);
        if extended_size != 0 {
            (*copy).context.registers.extended = extended_copy as *mut u8;
        }
        ptr::copy_nonoverlapping(information, &raw mut (*copy).information, 1);
        continue_at(
            frame,
            &raw mut (*copy).context,
            &raw mut (*copy).information,
            body,
            words[0],
            words[1],
        )
    }
}

/// Addresses of the extended state and of the frame below a stack pointer, as the kernel would choose them.
fn place(stack_pointer: usize, extended_size: usize) -> Option<(usize, usize)> {
    let extended = stack_pointer.checked_sub(RED_ZONE + extended_size)? & !(EXTENDED_ALIGNMENT - 1);
    let frame = (extended.checked_sub(size_of::<SignalFrame>())? & !15).checked_sub(8)?;
    Some((extended, frame))
}

/// Whether the `size` bytes below `top` can be written. Asks the kernel, which grows the main thread's stack
/// if that is what it takes, and says EFAULT where a touch of our own would kill.
fn has_room(top: usize, size: usize) -> bool {
    let Some(bottom) = top.checked_sub(size) else {
        return false;
    };
    // From the top down, as a stack grows.
    let mut address = (top - size_of::<u64>()) & !7;
    loop {
        if !is_writable(address) {
            return false;
        }
        let page = address & !(PAGE - 1);
        if page <= bottom {
            return true;
        }
        address = page - size_of::<u64>();
    }
}

/// Whether eight bytes can be written; writes the signal mask there if so.
fn is_writable(address: usize) -> bool {
    // SAFETY: The kernel writes this thread's mask to `address`, or nothing; the caller chose bytes below a
    // stack pointer that nobody uses.
    unsafe { raw::call(__NR_rt_sigprocmask, [0, 0, address, size_of::<u64>()]) }.is_ok()
}

/// Arms the alternate stack again if the kernel took it away for this handler, and the frame was copied off
/// it. (On it, arming would let the next signal overwrite us; `rt_sigreturn` arms it in the end.)
pub(super) fn rearm(context: &Context) {
    if context.stack.disarms() && !context.stack.contains(ptr::from_ref(context) as usize) {
        set_alternate_stack(&context.stack);
    }
}

/// Sets the stack pointer to `frame` and jumps to `body`, whose return address is the frame's first word.
///
/// # Safety
/// `frame` is a complete frame with stack below it.
#[unsafe(naked)]
unsafe extern "C" fn continue_at(
    frame: usize,
    context: *mut Context,
    information: *mut SigInfo,
    body: Body,
    first: usize,
    second: usize,
) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "mov rax, rcx",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, r8",
        "mov rcx, r9",
        "xor ebp, ebp",
        "jmp rax",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_placed_as_the_kernel_places_it() {
        for pointer in (0x7000_0000..0x7000_0100).step_by(8) {
            let (extended, frame) = place(pointer, 2700).expect("there is room");
            assert!(
                extended + 2700 + RED_ZONE <= pointer,
                "above stays the red zone"
            );
            assert_eq!(extended % EXTENDED_ALIGNMENT, 0);
            assert_eq!(frame % 16, 8);
            assert!(frame + size_of::<SignalFrame>() <= extended);
        }
        assert!(place(0, 2700).is_none());
        assert!(place(3000, 2700).is_none());
    }

    #[test]
    fn room_is_found_out_without_dying() {
        let here = 0_u64;
        let below = (&raw const here) as usize - 32 * 1024;
        assert!(has_room(below, 4096));
        assert!(!has_room(0x1000, 0x800), "page zero");
        assert!(!has_room(0x800, 0x1000), "below address zero");
    }
}
