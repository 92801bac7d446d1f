//! Regions as a tree: allocations, and the regions of those that are open.

use std::collections::HashSet;

use pagekeeper::monitor::{Region, RegionKind, RegionUse, Whereabouts, protection_name};

/// A line of the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    /// The regions, by their places in the snapshot: all of an allocation, or one.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) is_allocation: bool,
    pub(super) size_bytes: u64,
    pub(super) committed_bytes: u64,
    pub(super) pages: Whereabouts,
}

/// What the allocations are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    Address,
    Size,
    Committed,
    #[default]
    Resident,
}

impl Order {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Address => Self::Size,
            Self::Size => Self::Committed,
            Self::Committed => Self::Resident,
            Self::Resident => Self::Address,
        }
    }
}

/// What of the tree is shown.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) order: Order,
    pub(super) is_reversed: bool,
    pub(super) kind: Option<RegionKind>,
    pub(super) filter: String,
    /// Bases of open allocations.
    pub(super) open: HashSet<u64>,
}

/// The lines of the tree.
pub(super) fn branches(regions: &[Region], choice: &Choice) -> Vec<Branch> {
    let filter = choice.filter.to_lowercase();
    let mut allocations = Vec::new();
    let mut first = 0;
    while let Some(region) = regions.get(first) {
        let count = regions[first..]
            .iter()
            .take_while(|next| {
                next.allocation_base == region.allocation_base && next.kind == region.kind
            })
            .count();
        let group = &regions[first..first + count];
        let is_wanted = choice.kind.is_none_or(|kind| kind == region.kind)
            && (filter.is_empty() || group.iter().any(|region| matches(region, &filter)));
        if is_wanted {
            allocations.push(branch(group, first, true));
        }
        first += count;
    }
    allocations.sort_by_key(|branch| {
        core::cmp::Reverse(match choice.order {
            Order::Address => u64::MAX - branch.first as u64,
            Order::Size => branch.size_bytes,
            Order::Committed => branch.committed_bytes,
            Order::Resident => branch.pages.resident,
        })
    });
    if choice.is_reversed {
        allocations.reverse();
    }
    let mut lines = Vec::with_capacity(allocations.len());
    for allocation in allocations {
        let range = allocation.first..allocation.first + allocation.count;
        let is_open = allocation.count > 1
            && regions
                .get(allocation.first)
                .is_some_and(|region| choice.open.contains(&region.base));
        lines.push(allocation);
        if is_open {
            lines.extend(range.filter_map(|place| {
                let region = regions.get(place)?;
                Some(branch(core::slice::from_ref(region), place, false))
            }));
        }
    }
    lines
}

fn branch(group: &[Region], first: usize, is_allocation: bool) -> Branch {
    let mut branch = Branch {
        first,
        count: group.len(),
        is_allocation,
        size_bytes: 0,
        committed_bytes: 0,
        pages: Whereabouts::default(),
    };
    for region in group {
        branch.size_bytes += region.size_bytes;
        branch.committed_bytes += region.committed_bytes;
        branch.pages.add(&region.pages);
    }
    branch
}

fn matches(region: &Region, filter: &str) -> bool {
    region.name.to_lowercase().contains(filter)
        || region.kind.name().contains(filter)
        || format!("{:x}", region.base).contains(filter.trim_start_matches("0x"))
        || protection_name(region.protection)
            .to_lowercase()
            .contains(filter)
}

/// The heat strip of a branch: of a region its own, of an allocation that of its regions, each as long as its share.
pub(super) fn heat(regions: &[Region], branch: &Branch, width: usize) -> Vec<u8> {
    let group = regions
        .get(branch.first..branch.first + branch.count)
        .unwrap_or_default();
    if let [region] = group {
        return region.heat.clone();
    }
    if branch.committed_bytes == 0 {
        return Vec::new();
    }
    let whole = branch.size_bytes.max(1);
    let mut cells = vec![0_u8; width];
    let mut before = 0_u64;
    for region in group {
        let scaled = |bytes: u64| {
            (u128::from(bytes) * width as u128 / u128::from(whole)).min(width as u128 - 1) as usize
        };
        let from = scaled(before);
        let to = scaled(before + region.size_bytes.saturating_sub(1));
        for (place, cell) in cells.iter_mut().enumerate().take(to + 1).skip(from) {
            let of = (place - from) * region.heat.len() / (to - from + 1);
            *cell = (*cell).max(region.heat.get(of).copied().unwrap_or(0));
        }
        before += region.size_bytes;
    }
    cells
}

/// State and protection in a few letters, as debuggers write them.
pub(super) fn state(region: &Region) -> String {
    let text = match region.usage {
        RegionUse::Reserved => return "reserved".to_owned(),
        RegionUse::Merged => return "mixed".to_owned(),
        RegionUse::Committed => match region.protection & 0xFF {
            0x1 => "---",
            0x2 => "r--",
            0x4 => "rw-",
            0x8 => "rc-",
            0x10 => "--x",
            0x20 => "r-x",
            0x40 => "rwx",
            0x80 => "rcx",
            _ => "?",
        },
    };
    match region.protection & 0x100 {
        0 => text.to_owned(),
        _ => format!("{text} guard"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Vec<Region> {
        let region = |base, size_bytes, allocation_base, resident| Region {
            base,
            size_bytes,
            allocation_base,
            committed_bytes: size_bytes,
            usage: RegionUse::Committed,
            protection: 4,
            pages: Whereabouts {
                resident,
                ..Whereabouts::default()
            },
            heat: vec![if resident > 0 { 255 } else { 0 }],
            ..Region::default()
        };
        vec![
            region(0x1000, 0x1000, 0x1000, 0),
            region(0x2000, 0x3000, 0x1000, 3),
            region(0x9000, 0x1000, 0x9000, 1),
        ]
    }

    #[test]
    fn allocations_open_and_are_ordered() {
        let all = regions();
        let mut choice = Choice {
            order: Order::Address,
            ..Choice::default()
        };
        let lines = branches(&all, &choice);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].count, lines[0].size_bytes), (2, 0x4000));
        choice.open.insert(0x1000);
        assert_eq!(branches(&all, &choice).len(), 4);
        choice.order = Order::Size;
        choice.is_reversed = true;
        assert_eq!(branches(&all, &choice)[0].first, 2);
        choice.filter = "0x9000".to_owned();
        assert_eq!(branches(&all, &choice).len(), 1);
        choice.kind = Some(RegionKind::Image);
        assert!(branches(&all, &choice).is_empty());
    }

    #[test]
    fn an_allocations_strip_is_made_of_those_of_its_regions() {
        let all = regions();
        let lines = branches(&all, &Choice::default());
        assert_eq!(heat(&all, &lines[0], 4), [0, 255, 255, 255]);
        assert_eq!(heat(&all, &lines[1], 4), [255]);
        assert_eq!(state(&all[0]), "rw-");
    }
}
