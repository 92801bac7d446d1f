//! A disk that misbehaves on demand, for tests. Deterministic: what goes wrong depends on the
//! requests and the settings only.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: flips a byte in the buffers of a finished read, which are still borrowed"
)]

use std::sync::Mutex;

use super::{BlockIo, Direction, Request};
use crate::Errno;

/// One kind of misbehaviour.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// After `after` more requests of that direction, all of them fail with `errno`.
    FailsAfter {
        /// Which requests are counted and fail.
        direction: Direction,
        /// How many still succeed.
        after: u64,
        /// What the others give.
        errno: Errno,
    },
    /// The `after`th next request of that direction (0 is the next) fails with `errno`, once.
    FailsOnce {
        /// Which requests are counted.
        direction: Direction,
        /// How many succeed before.
        after: u64,
        /// What it gives.
        errno: Errno,
    },
    /// Requests of that direction that cover the byte at `offset` fail with `errno`: a bad sector.
    FailsAcross {
        /// Which requests fail.
        direction: Direction,
        /// Which byte of the file.
        offset: u64,
        /// What they give.
        errno: Errno,
    },
    /// Every read that covers the byte at `offset` in the file sees it changed by `mask`.
    Flips {
        /// Which byte of the file.
        offset: u64,
        /// Which bits of it.
        mask: u8,
    },
    /// Requests that touch `offset` or beyond are refused with `ENOSPC` (writes) or `EIO` (reads).
    EndsAt {
        /// First byte that is not there.
        offset: u64,
    },
    /// After `after` more writes every write claims success and does nothing.
    LosesWritesAfter {
        /// How many are still carried out.
        after: u64,
    },
    /// After `after` more writes the next one stores its first half only and fails with `EIO`.
    TearsWriteAfter {
        /// How many are still carried out in full.
        after: u64,
    },
}

/// Wraps a disk and makes it misbehave.
#[derive(Debug)]
pub struct Faulty<D> {
    inner: D,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    reads: u64,
    writes: u64,
}

impl<D: BlockIo> Faulty<D> {
    /// Wraps `inner`; behaves until told otherwise.
    pub fn new(inner: D) -> Self {
        Self {
            inner,
            state: Mutex::default(),
        }
    }

    /// Adds a misbehaviour.
    pub fn add(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Requests seen so far: reads and writes.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.reads, state.writes)
    }

    /// The disk beneath.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A test that panicked elsewhere is no reason to panic here too.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn carry_out(&self, request: &mut Request<'_>) {
        let verdict = self.lock().judge(request);
        match verdict {
            Verdict::Behave => self.inner.submit_and_wait(core::slice::from_mut(request)),
            Verdict::Fail(errno) => request.set_result(Err(errno)),
            Verdict::Pretend => request.set_result(Ok(())),
            Verdict::Tear => {
                self.tear(request);
                request.set_result(Err(Errno::IO));
            }
        }
        if request.direction() == Direction::Read && request.result().is_ok() {
            let faults = self.lock().faults.clone();
            for fault in faults {
                if let Fault::Flips { offset, mask } = fault {
                    flip(request, offset, mask);
                }
            }
        }
    }

    /// Stores the first half (whole buffers first) of a write.
    fn tear(&self, request: &Request<'_>) {
        let mut left = request.length_bytes() / 2;
        let mut offset = request.offset();
        for buffer in request.raw_buffers() {
            let part = (buffer.length as u64).min(left);
            // SAFETY: A part of a buffer that the request's maker promised.
            let bytes = unsafe { core::slice::from_raw_parts(buffer.base, part as usize) };
            // What becomes of a torn write is nobody's business.
            let _ = self.inner.write_at(offset, bytes);
            offset += part;
            left -= part;
        }
    }
}

enum Verdict {
    Behave,
    Fail(Errno),
    Pretend,
    Tear,
}

impl State {
    fn judge(&mut self, request: &Request<'_>) -> Verdict {
        match request.direction() {
            Direction::Read => self.reads += 1,
            Direction::Write => self.writes += 1,
        }
        let mut verdict = Verdict::Behave;
        let mut spent = None;
        for (index, fault) in self.faults.iter_mut().enumerate() {
            let Some((outcome, once)) = fault.applies(request) else {
                continue;
            };
            verdict = outcome;
            if once {
                spent = Some(index);
            }
        }
        if let Some(index) = spent {
            self.faults.remove(index);
        }
        verdict
    }
}

impl Fault {
    /// What becomes of `request`, and whether the fault is used up by it. Counts down.
    fn applies(&mut self, request: &Request<'_>) -> Option<(Verdict, bool)> {
        let way = request.direction();
        let writes = way == Direction::Write;
        let end = request.offset() + request.length_bytes();
        match self {
            Self::FailsAfter {
                direction,
                after,
                errno,
            } => {
                (way == *direction && counted_down(after)).then_some((Verdict::Fail(*errno), false))
            }
            Self::FailsOnce {
                direction,
                after,
                errno,
            } => {
                (way == *direction && counted_down(after)).then_some((Verdict::Fail(*errno), true))
            }
            Self::FailsAcross {
                direction,
                offset,
                errno,
            } => (way == *direction && (request.offset()..end).contains(offset))
                .then_some((Verdict::Fail(*errno), false)),
            Self::EndsAt { offset } => (end > *offset).then_some((
                Verdict::Fail(if writes { Errno::NOSPC } else { Errno::IO }),
                false,
            )),
            Self::LosesWritesAfter { after } => {
                (writes && counted_down(after)).then_some((Verdict::Pretend, false))
            }
            Self::TearsWriteAfter { after } => {
                (writes && counted_down(after)).then_some((Verdict::Tear, true))
            }
            Self::Flips { .. } => None,
        }
    }
}

fn counted_down(after: &mut u64) -> bool {
    if *after == 0 {
        return true;
    }
    *after -= 1;
    false
}

fn flip(request: &Request<'_>, offset: u64, mask: u8) {
    let Some(mut inside) = offset.checked_sub(request.offset()) else {
        return;
    };
    for buffer in request.raw_buffers() {
        if inside < buffer.length as u64 {
            let byte = buffer.base.wrapping_add(inside as usize);
            // SAFETY: Inside a buffer of a finished read, which the request still borrows.
            unsafe { byte.write(byte.read() ^ mask) };
            return;
        }
        inside -= buffer.length as u64;
    }
}

impl<D: BlockIo> BlockIo for Faulty<D> {
    fn submit_and_wait(&self, requests: &mut [Request<'_>]) {
        for request in requests {
            self.carry_out(request);
        }
    }

    fn name(&self) -> &'static str {
        "faulty"
    }
}
