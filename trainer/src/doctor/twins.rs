//! What it means that pictures look alike: within a set, across sets, and under different classes.

use std::collections::{BTreeMap, BTreeSet};

use super::look::Look;
use super::{Finding, Kind, Seen, Severity, alike, counted};

/// Twins of a group that are named.
const NAMED: usize = 4;

/// One picture of a group.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    /// Place of its set.
    set: usize,
    key: &'a str,
    class: Option<&'a str>,
}

/// All that follows from pictures of `seen` that look alike.
pub(super) fn findings(seen: &[Seen<'_>]) -> Vec<Finding> {
    let mut members = Vec::new();
    let mut looks: Vec<&Look> = Vec::new();
    for (set, one) in seen.iter().enumerate() {
        for (pair, look) in one.set.pairs.iter().zip(&one.looks) {
            let Ok(look) = look else { continue };
            let class = pair.class.map(|class| one.set.classes[class].as_str());
            members.push(Member { set, key: &pair.key, class });
            looks.push(look);
        }
    }
    let groups: Vec<Vec<Member<'_>>> = alike::groups(&looks)
        .into_iter()
        .map(|group| group.into_iter().map(|place| members[place]).collect())
        .collect();
    let mut found = across(seen, &groups);
    found.extend(contradicting(seen, &groups));
    found.extend(within(seen, &groups));
    found
}

/// Pictures of two sets.
fn across(seen: &[Seen<'_>], groups: &[Vec<Member<'_>>]) -> Vec<Finding> {
    // By the two sets: the groups, and how many pictures of the later set are in them.
    let mut by_sets: BTreeMap<(usize, usize), (Vec<String>, usize)> = BTreeMap::new();
    for group in groups {
        let sets: BTreeSet<usize> = group.iter().map(|member| member.set).collect();
        let sets: Vec<usize> = sets.into_iter().collect();
        for (place, &one) in sets.iter().enumerate() {
            for &other in &sets[place + 1..] {
                let part = |set| group.iter().filter(move |member| member.set == set);
                let (things, pictures) = by_sets.entry((one, other)).or_default();
                things.push(format!("{} ~ {}", named(part(other)), named(part(one))));
                *pictures += part(other).count();
            }
        }
    }
    let finding = |((one, other), (things, pictures)): ((usize, usize), (Vec<String>, usize))| {
        let all = seen[other].set.pairs.len();
        let what = format!(
            "{pictures} of {} of {} look like pictures of {}",
            counted(all, "picture", "pictures"),
            seen[other].set.name(),
            seen[one].set.name()
        );
        Finding {
            kind: Kind::TwinsAcross,
            severity: Severity::Harm,
            what,
            cure: "take them out of one of the two sets: where one is trained on and the other measured, \
                   the figures are too good",
            things,
        }
    };
    by_sets.into_iter().map(finding).collect()
}

/// Pictures under different classes, within a set or across sets.
fn contradicting(seen: &[Seen<'_>], groups: &[Vec<Member<'_>>]) -> Option<Finding> {
    let differ = |group: &&Vec<Member<'_>>| {
        let classes: BTreeSet<_> = group.iter().filter_map(|member| member.class).collect();
        classes.len() > 1
    };
    let told = |member: &Member<'_>| {
        let class = member.class.unwrap_or_default();
        format!("{} of {} is {class}", member.key, seen[member.set].set.name())
    };
    let one_of_each = |group: &Vec<Member<'_>>| {
        let mut classes = BTreeSet::new();
        let first = group.iter().filter(|member| member.class.is_some_and(|c| classes.insert(c)));
        first.map(told).collect::<Vec<_>>().join(", ")
    };
    let things: Vec<String> = groups.iter().filter(differ).map(one_of_each).collect();
    let finding = Finding {
        kind: Kind::ContradictingClasses,
        severity: Severity::Harm,
        what: format!(
            "{} that look alike and are of different classes",
            counted(things.len(), "group of pictures", "groups of pictures")
        ),
        cure: "look at them and keep the class that is right",
        things,
    };
    (!finding.things.is_empty()).then_some(finding)
}

/// Pictures of one set. Captions of twins are negatives to each other; classes only weigh more.
fn within(seen: &[Seen<'_>], groups: &[Vec<Member<'_>>]) -> Vec<Finding> {
    let finding = |(set, one): (usize, &Seen<'_>)| {
        let parts = groups.iter().map(|group| group.iter().filter(move |member| member.set == set));
        let parts: Vec<_> = parts.filter(|part| part.clone().count() > 1).collect();
        let pictures: usize = parts.iter().map(|part| part.clone().count()).sum();
        let (severity, follows, cure) = if one.is_labelled() {
            (Severity::Note, "which count several times", "keep one of each group")
        } else {
            let follows = "whose captions are negatives to each other";
            let cure = "keep one of each group, with the captions of all; in a table, rows with the same \
                        path are one picture";
            (Severity::Harm, follows, cure)
        };
        let what = format!(
            "{} of {} in {} of pictures that look alike, {follows}",
            counted(pictures, "picture", "pictures"),
            one.set.name(),
            counted(parts.len(), "group", "groups")
        );
        let things: Vec<String> = parts.into_iter().map(named).collect();
        let kind = Kind::TwinsWithin;
        (!things.is_empty()).then_some(Finding { kind, severity, what, cure, things })
    };
    seen.iter().enumerate().filter_map(finding).collect()
}

/// The first keys, and how many more there are.
fn named<'a>(members: impl Iterator<Item = &'a Member<'a>>) -> String {
    let keys: Vec<&str> = members.map(|member| member.key).collect();
    let more = keys.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    keys[..keys.len().min(NAMED)].join(", ") + &more
}
