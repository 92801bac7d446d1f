//! The tree against the standard map.

use std::collections::BTreeMap;

use super::*;

fn compare(tree: &Tree<true>, map: &BTreeMap<u64, u64>, probe: u64) {
    let pair = |(k, v): (&u64, &u64)| (*k, *v);
    assert_eq!(tree.len(), map.len());
    assert_eq!(tree.get(probe), map.get(&probe).copied());
    assert_eq!(tree.floor(probe), map.range(..=probe).next_back().map(pair));
    assert_eq!(tree.ceiling(probe), map.range(probe..).next().map(pair));
    let next = map.range(probe + 1..).next().map(|(k, _)| *k);
    assert_eq!(
        tree.floor_and_next(probe),
        tree.floor(probe).map(|floor| (floor, next))
    );
    let between = map.range(probe..probe + 50).count().min(9);
    assert_eq!(tree.count_between(probe, probe + 50, 9), between);
}

#[test]
fn it_agrees_with_the_standard_map() {
    let mut tree = Tree::<true>::new();
    let mut map = BTreeMap::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for step in 0..200_000u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Waves of growing and shrinking, so that nodes split and merge at every level.
        let growing = (step / 20_000).is_multiple_of(2);
        let key = (random >> 8) % 20_000;
        if (random % 8 < 6) == growing {
            tree.insert(key, random % 1000);
            map.insert(key, random % 1000);
        } else {
            assert_eq!(tree.remove(key), map.remove(&key));
        }
        if let Some((key, value)) = tree.floor(random % 20_000) {
            let below = map.range(..key).next_back().map_or(0, |(k, _)| k + 1);
            let new_key = below + (random >> 16) % (key - below + 1);
            assert!(tree.rekey(key, new_key, value ^ 1));
            map.remove(&key);
            map.insert(new_key, value ^ 1);
        }
        compare(&tree, &map, (random >> 32) % 20_100);
        if step.is_multiple_of(500) {
            let wanted = random % 1001;
            let first = map
                .iter()
                .find(|(_, v)| **v >= wanted)
                .map(|(k, v)| (*k, *v));
            let last = map
                .iter()
                .rfind(|(_, v)| **v >= wanted)
                .map(|(k, v)| (*k, *v));
            assert_eq!(tree.first_at_least(wanted), first);
            assert_eq!(tree.last_at_least(wanted), last);
        }
    }
    for key in 0..20_000 {
        assert_eq!(tree.remove(key), map.remove(&key));
    }
    assert_eq!(tree.len(), 0);
    assert!(
        tree.heap_bytes() <= size_of::<Leaf>(),
        "an empty tree keeps one leaf at most"
    );
}

#[test]
fn ascending_insertions_fill_the_nodes() {
    let mut tree = Tree::<false>::new();
    for key in 0..32_000 {
        tree.insert(key, key);
    }
    assert!(
        tree.leaves.len() <= 2_001,
        "{} leaves for 32,000 entries",
        tree.leaves.len()
    );
    assert_eq!(tree.floor(u64::MAX), Some((31_999, 31_999)));
}
