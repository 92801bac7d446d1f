//! Many short names in little memory.

/// Byte strings one behind the other, found again by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Names {
    /// Adds a name; its number. `None` when four GiB of names are full.
    pub(super) fn push(&mut self, name: &[u8]) -> Option<u32> {
        let end = u32::try_from(self.bytes.len() + name.len()).ok()?;
        let number = u32::try_from(self.ends.len()).ok()?;
        self.bytes.extend_from_slice(name);
        self.ends.push(end);
        Some(number)
    }

    /// Takes the last one away and returns it in `into`, which is emptied first. `false` when there is none.
    pub(super) fn pop(&mut self, into: &mut Vec<u8>) -> bool {
        into.clear();
        if self.ends.pop().is_none() {
            return false;
        }
        let start = self.ends.last().map_or(0, |&end| end as usize);
        into.extend_from_slice(&self.bytes[start..]);
        self.bytes.truncate(start);
        true
    }

    /// The name with that number; empty where there is none.
    pub(super) fn get(&self, number: usize) -> &[u8] {
        let Some(&end) = self.ends.get(number) else {
            return &[];
        };
        let start = number
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..end as usize]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all; the memory is kept.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_by_number() {
        let mut names = Names::default();
        for name in [&b"one"[..], b"", b"three"] {
            names.push(name).expect("room");
        }
        assert_eq!(
            (names.get(0), names.get(1), names.get(2)),
            (&b"one"[..], &b""[..], &b"three"[..])
        );
        assert_eq!(names.get(3), b"");
        let mut name = Vec::new();
        assert!(names.pop(&mut name));
        assert_eq!(name, b"three");
        assert_eq!((names.len(), names.get(0)), (2, &b"one"[..]));
        names.clear();
        assert!(!names.pop(&mut name) && name.is_empty());
    }
}
