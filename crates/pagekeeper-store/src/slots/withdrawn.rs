//! Slots that the disk refused to write: tried again one by one, and given up for good when the disk writes others.

use super::{CLUSTER, SlotMap, bits};
use crate::sync::Relaxed;

impl SlotMap {
    /// The first withdrawn slot from `from` on that may still be tried again.
    pub(crate) fn next_withdrawn(&self, from: u32) -> Option<u32> {
        let end = self.available.load(Relaxed);
        let mut slot = from;
        while slot < end {
            let word = (slot / CLUSTER) as usize;
            let open = bits(&self.bad, word) & !bits(&self.condemned, word);
            let open = open & (!0 << (slot % CLUSTER));
            slot = slot / CLUSTER * CLUSTER + open.trailing_zeros();
            if open != 0 {
                return (slot < end).then_some(slot);
            }
        }
        None
    }

    /// A withdrawn slot could be written: it is free again. Not for the fault path.
    pub(crate) fn mend(&self, slot: u32) {
        let _held = self.lock.lock_outside_handler();
        let Some(word) = self.bad.get((slot / CLUSTER) as usize) else {
            return;
        };
        let (bad, bit) = (word.load(Relaxed), 1 << (slot % CLUSTER));
        if bad & bit == 0 {
            return;
        }
        word.store(bad & !bit, Relaxed);
        self.bad_count
            .store(self.bad_count.load(Relaxed).saturating_sub(1), Relaxed);
        self.set_free(slot, 1);
    }

    /// A withdrawn slot is bad beyond doubt: it is never tried again. Not for the fault path.
    pub(crate) fn condemn(&self, slot: u32) {
        let _held = self.lock.lock_outside_handler();
        if let Some(word) = self.condemned.get((slot / CLUSTER) as usize) {
            word.store(word.load(Relaxed) | 1 << (slot % CLUSTER), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withdrawn_slots_come_back_when_mended_and_condemned_ones_never() {
        let map = SlotMap::new(300).unwrap();
        map.grow_to(300);
        assert_eq!(map.next_withdrawn(0), None);
        assert_eq!(map.take_run(200), Some((0, 200)));
        assert_eq!(map.mark_bad(100, 70), 70);
        assert_eq!(map.next_withdrawn(0), Some(100));
        map.condemn(100);
        map.mend(101);
        map.mend(5);
        assert_eq!(map.next_withdrawn(0), Some(102));
        assert_eq!(map.next_withdrawn(170), None);
        let counts = map.counts();
        assert_eq!((counts.used, counts.bad), (130, 69));
        while map.take_run(256).is_some() {}
        // All but the bad ones are in use, the mended one too.
        assert_eq!(map.counts().used, 300 - 69);
    }
}
