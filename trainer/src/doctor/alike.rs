//! Pictures that look alike, found among many without comparing each with each.
//!
//! Two hashes of 64 bits that differ in at most seven agree in one of four parts of sixteen up to a
//! single bit (pigeonhole; the multi-index hashing of Norouzi, Punjani and Fleet 2012). So each hash
//! is looked up in four tables under its own part and the sixteen parts a bit away, and only what
//! lies there is compared.

use std::collections::HashMap;

use super::look::Look;

/// Bits of the hash in which pictures that look alike may differ.
const MOST_BITS: u32 = 7;

/// Mean difference of the small copies' values, out of 255, up to which they look alike.
const MOST_DIFFERENCE: f32 = 6.0;

/// Parts that a hash is looked up by.
const PARTS: u32 = 4;

/// Bits of a part.
const PART_BITS: u32 = u64::BITS / PARTS;

/// Groups of at least two that look alike, as places in `looks`, in the order of their first.
///
/// What is like a member of a group is in it, so that its ends may differ more.
/// Blank pictures look like nothing.
pub(super) fn groups(looks: &[&Look]) -> Vec<Vec<usize>> {
    let mut sets = Sets::new(looks.len());
    let mut of_hash: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, look) in looks.iter().enumerate().filter(|(_, look)| !look.blank) {
        let same = of_hash.entry(look.hash).or_default();
        // Of those with the same hash one for each appearance.
        match same.iter().find(|&&other| alike(look, looks[other])) {
            Some(&other) => sets.join(place, other),
            None => same.push(place),
        }
    }
    let mut hashes: Vec<(u64, Vec<usize>)> = of_hash.into_iter().collect();
    hashes.sort_by_key(|(_, places)| places[0]);
    near(&hashes, |first, second| {
        for &place in &hashes[first].1 {
            for &other in &hashes[second].1 {
                if alike(looks[place], looks[other]) {
                    sets.join(place, other);
                }
            }
        }
    });
    sets.groups()
}

fn alike(one: &Look, other: &Look) -> bool {
    one.difference(other) <= MOST_DIFFERENCE
}

/// Hands over pairs of places in `hashes`, the smaller first, whose hashes differ in few bits; some
/// come twice.
fn near(hashes: &[(u64, Vec<usize>)], mut found: impl FnMut(usize, usize)) {
    for part in 0..PARTS {
        let of = |hash: u64| (hash >> (part * PART_BITS)) as u16;
        let mut table: HashMap<u16, Vec<usize>> = HashMap::new();
        for (place, (hash, _)) in hashes.iter().enumerate() {
            let flipped = (0..PART_BITS).map(|bit| 1u16 << bit);
            for key in flipped.chain([0]).map(|bit| of(*hash) ^ bit) {
                let others = table.get(&key).into_iter().flatten();
                let close = |other: &&usize| (hashes[**other].0 ^ hash).count_ones() <= MOST_BITS;
                others.filter(close).for_each(|&other| found(other, place));
            }
            table.entry(of(*hash)).or_default().push(place);
        }
    }
}

/// Disjoint sets of places.
struct Sets {
    /// A place in the same set, itself at the root.
    parent: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.parent[place] != place {
            self.parent[place] = self.parent[self.parent[place]];
            place = self.parent[place];
        }
        place
    }

    /// The smaller root becomes the root of both.
    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parent[one.max(other)] = one.min(other);
    }

    fn groups(mut self) -> Vec<Vec<usize>> {
        let mut of_root: HashMap<usize, Vec<usize>> = HashMap::new();
        for place in 0..self.parent.len() {
            let root = self.root(place);
            of_root.entry(root).or_default().push(place);
        }
        let mut groups: Vec<_> = of_root.into_values().filter(|group| group.len() > 1).collect();
        groups.sort_unstable();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::testing::look;
    use super::*;

    fn with_hash(hash: u64) -> Look {
        Look { hash, ..look(1) }
    }

    #[test]
    fn every_pair_within_seven_bits_is_found_as_the_plain_way_finds_it() {
        // Hashes in clusters, so that many are near each other and many are not.
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 31)
        };
        let hashes: Vec<(u64, Vec<usize>)> = (0..400)
            .map(|i| {
                let center = (i as u64 % 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let flips = (0..i % 6).fold(0, |bits, _| bits | 1u64 << (random() % 64));
                (center ^ flips, vec![i])
            })
            .collect();
        let mut fast = Vec::new();
        near(&hashes, |one, other| fast.push((one, other)));
        fast.sort_unstable();
        fast.dedup();
        let close = |a: usize, b: usize| (hashes[a].0 ^ hashes[b].0).count_ones() <= MOST_BITS;
        let plain: Vec<(usize, usize)> = (0..400)
            .flat_map(|a| (a + 1..400).map(move |b| (a, b)))
            .filter(|&(a, b)| close(a, b))
            .collect();
        assert!(plain.len() > 1000);
        assert_eq!(fast, plain);
    }

    #[test]
    fn groups_hold_what_is_alike_and_nothing_else() {
        let looks = [look(1), look(2), look(1), look(3), with_hash(look(1).hash ^ 0b111), look(4)];
        let looks: Vec<&Look> = looks.iter().collect();
        assert_eq!(groups(&looks), [vec![0, 2, 4]]);
    }

    #[test]
    fn the_same_hash_alone_makes_no_twins() {
        let other = Look { hash: look(1).hash, ..look(2) };
        assert_eq!(groups(&[&look(1), &other]), Vec::<Vec<usize>>::new());
        assert_eq!(groups(&[&look(1), &other, &look(2)]), Vec::<Vec<usize>>::new());
    }
}
