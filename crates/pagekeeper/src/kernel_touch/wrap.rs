//! The macros that make wrappers, and with them the table's rows.
//!
//! `rows!` makes a family's table and the slots of its functions; `touches!` makes whole wrappers for functions whose
//! pointers reach small things only (structs, strings, results), which go through stand-ins:
//!
//! | word | the argument is |
//! |---|---|
//! | `path p` | a path |
//! | `text p` | a string of any length |
//! | `read p[n]` | `n` bytes that the kernel reads; without `[n]` what the pointer's type says |
//! | `fill p[n]` | `n` bytes that the kernel fills, or reads and fills |

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the macros make functions that pass their caller's pointers on to libc"
)]

/// A family's table and slots: `rows! { "family"; name: "what"; ... }`. The slots are `slots::name`.
macro_rules! rows {
    ($family:literal; $($name:ident: $what:expr;)*) => {
        pub(super) mod slots {
            $(
                #[allow(non_upper_case_globals, reason = "named as the function is")]
                pub(in crate::kernel_touch) static $name: $crate::kernel_touch::real::Slot =
                    $crate::kernel_touch::real::Slot::new(concat!(stringify!($name), "\0"));
            )*
        }

        /// This family's rows.
        pub(super) static TABLE: &[$crate::kernel_touch::KernelTouch] = &[
            $($crate::kernel_touch::KernelTouch {
                name: stringify!($name),
                family: $family,
                what: $what,
                slot: &slots::$name,
                wrapper: $name as *const (),
            },)*
        ];
    };
}

/// The real function of a wrapper, as a function of the given type; or the wrapper's failure.
macro_rules! real {
    ($name:ident: ($($type:ty),* $(,)?) -> $result:ty) => {{
        let address = slots::$name.address();
        if address.is_null() {
            return $crate::kernel_touch::reach::fail(libc::ENOSYS);
        }
        // SAFETY: libc's function of this name has this type.
        unsafe {
            core::mem::transmute::<*mut core::ffi::c_void, unsafe extern "C-unwind" fn($($type),*) -> $result>(address)
        }
    }};
}

/// Whole wrappers; see the module text.
macro_rules! touches {
    ($family:literal; $(
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty { $($how:ident $what:ident $([$length:expr])?),* $(,)? }
    )*) => {
        $crate::kernel_touch::wrap::rows! { $family; $($name: concat!($("`", stringify!($what), "` (", stringify!($how), ") "),*);)* }
        $($crate::kernel_touch::wrap::touch! {
            fn $name($($argument: $type),*) -> $result { $($how $what $([$length])?),* }
        })*
    };
}

/// One wrapper; see the module text.
macro_rules! touch {
    (fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty { $($how:ident $what:ident $([$length:expr])?),* $(,)? }) => {
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name($($argument: $type),*) -> $result {
            let real = $crate::kernel_touch::wrap::real!($name: ($($type),*) -> $result);
            if $($crate::kernel_touch::wrap::reaches_argument!($how $what $([$length])?))||* {
                let mut stand_ins = $crate::kernel_touch::scratch::StandIns::new();
                $(
                    // SAFETY: what lies outside of paged memory is the caller's promise to libc.
                    let stand_in = unsafe {
                        $crate::kernel_touch::wrap::stand_in!(stand_ins, $how $what $([$length])?)
                    };
                    let $what = match stand_in {
                        Ok(stand_in) => stand_in,
                        Err(number) => return $crate::kernel_touch::reach::fail(number),
                    };
                )*
                // SAFETY: the caller's promises, with stand-ins that hold the same bytes.
                let result = unsafe { real($($argument),*) };
                let _kept = $crate::kernel_touch::reach::ErrnoKept::new();
                // SAFETY: as above.
                unsafe { stand_ins.copy_back() };
                return result;
            }
            // SAFETY: the caller's promises, passed on.
            unsafe { real($($argument),*) }
        }
    };
}

/// Whether an argument reaches paged memory.
macro_rules! reaches_argument {
    (path $pointer:ident) => {
        $crate::kernel_touch::reach::reaches($pointer, libc::PATH_MAX as usize)
    };
    (text $pointer:ident) => {
        $crate::kernel_touch::reach::reaches($pointer, libc::PATH_MAX as usize)
    };
    ($how:ident $pointer:ident) => {
        $crate::kernel_touch::wrap::reaches_argument!(
            $how $pointer [$crate::kernel_touch::wrap::size_behind($pointer)]
        )
    };
    (read $pointer:ident [$length:expr]) => {
        $crate::kernel_touch::reach::reaches($pointer, $length)
    };
    (fill $pointer:ident [$length:expr]) => {
        $crate::kernel_touch::reach::reaches_filled($pointer, $length)
    };
}

/// A stand-in for an argument that may be null, outside or inside.
macro_rules! stand_in {
    ($all:ident, path $pointer:ident) => {
        if $pointer.is_null() { Ok($pointer) } else { $all.path($pointer.cast::<u8>()).map(|at| at as _) }
    };
    ($all:ident, text $pointer:ident) => {
        if $pointer.is_null() { Ok($pointer) } else { $all.text($pointer.cast::<u8>()).map(|at| at as _) }
    };
    ($all:ident, read $pointer:ident) => {
        $crate::kernel_touch::wrap::stand_in!($all, read $pointer [$crate::kernel_touch::wrap::size_behind($pointer)])
    };
    ($all:ident, fill $pointer:ident) => {
        $crate::kernel_touch::wrap::stand_in!($all, fill $pointer [$crate::kernel_touch::wrap::size_behind($pointer)])
    };
    ($all:ident, read $pointer:ident [$length:expr]) => {{
        let length: usize = $length;
        if $crate::kernel_touch::reach::reaches($pointer, length) {
            $all.input($pointer.cast::<u8>(), length).map(|at| at as _)
        } else {
            Ok($pointer)
        }
    }};
    ($all:ident, fill $pointer:ident [$length:expr]) => {{
        let length: usize = $length;
        if $crate::kernel_touch::reach::reaches_filled($pointer, length) {
            $all.output($pointer.cast::<u8>(), length).map(|at| at as _)
        } else {
            Ok($pointer)
        }
    }};
}

pub(super) use {reaches_argument, real, rows, stand_in, touch, touches};

/// The size of what a pointer points to.
pub(super) const fn size_behind<T>(_pointer: *const T) -> usize {
    size_of::<T>()
}
