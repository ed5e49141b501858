//! Classes without pictures, of very different size, or in one of several sets alone.

use std::sync::Arc;

use super::{Finding, Kind, Severity, counted};
use crate::data::Dataset;

/// The largest class may have so many times the pictures of the smallest.
const MOST_TIMES: usize = 10;

/// What is wrong with the classes of one set.
pub(super) fn within(set: &Dataset) -> Vec<Finding> {
    let mut pictures = vec![0usize; set.classes.len()];
    set.pairs.iter().filter_map(|pair| pair.class).for_each(|class| pictures[class] += 1);
    let with = |number: usize| -> Vec<String> {
        let names = set.classes.iter().zip(&pictures).filter(|(_, pictures)| **pictures == number);
        names.map(|(name, _)| name.clone()).collect()
    };
    let (empty, lone) = (with(0), with(1));
    let all = set.classes.len();
    let (none, single) = (empty.len(), lone.len());
    let finding =
        |kind, severity, what, cure, things| Finding { kind, severity, what, cure, things };
    let mut found = Vec::new();
    if none > 0 {
        found.push(finding(
            Kind::EmptyClass,
            Severity::Harm,
            format!("{none} of {} of {} without a picture", counted(all, "class", "classes"), set.name()),
            "add pictures, or take the names out: labels that cannot be right still draw pictures to \
             them, and a linear probe refuses them",
            empty,
        ));
    }
    if single > 0 {
        found.push(finding(
            Kind::LoneClass,
            Severity::Note,
            format!(
                "{single} of {} of {} with a single picture",
                counted(all, "class", "classes"),
                set.name()
            ),
            "add pictures: sup_con needs two of a class, and a figure of one picture is chance",
            lone,
        ));
    }
    found.extend(imbalance(set, &pictures));
    found
}

fn imbalance(set: &Dataset, pictures: &[usize]) -> Option<Finding> {
    let mut sizes: Vec<(usize, &str)> = pictures
        .iter()
        .zip(&set.classes)
        .filter(|(pictures, _)| **pictures > 0)
        .map(|(&pictures, name)| (pictures, name.as_str()))
        .collect();
    sizes.sort_by_key(|(pictures, _)| std::cmp::Reverse(*pictures));
    let (&(most, largest), &(least, smallest)) = (sizes.first()?, sizes.last()?);
    if most <= MOST_TIMES * least {
        return None;
    }
    let what = format!(
        "{largest} has {most} pictures of {}, {smallest} {least}: the frequent classes decide what \
         is learned and what top-1 says",
        set.name()
    );
    let named = |(pictures, name): &(usize, &str)| {
        format!("{name}: {}", counted(*pictures, "picture", "pictures"))
    };
    Some(Finding {
        kind: Kind::Imbalance,
        severity: Severity::Harm,
        what,
        cure: "add pictures of the rare classes, leave some of the frequent ones out, or give the rare \
               ones as a set of their own with a higher data[].weight",
        things: sizes.iter().map(named).collect(),
    })
}

/// Classes that not all labelled sets have.
pub(super) fn across(sets: &[Arc<Dataset>]) -> Vec<Finding> {
    let labelled: Vec<_> = sets.iter().filter(|set| !set.classes.is_empty()).collect();
    let mut found = Vec::new();
    for (place, one) in labelled.iter().enumerate() {
        for other in &labelled[place + 1..] {
            found.extend(differences(one, other));
        }
    }
    found
}

/// None where the classes are the same, or have nothing to do with each other.
fn differences(one: &Dataset, other: &Dataset) -> Option<Finding> {
    let only = |here: &Dataset, there: &Dataset| -> Vec<String> {
        let lacking = here.classes.iter().filter(|class| !there.classes.contains(class));
        lacking.map(|class| told(class, here, there)).collect()
    };
    let things = [only(one, other), only(other, one)].concat();
    let related = one.classes.iter().any(|class| other.classes.iter().any(|o| like(o, class)));
    let what = format!(
        "{} of {} and {} in one of the two alone",
        counted(things.len(), "class", "classes"),
        one.name(),
        other.name()
    );
    let finding = Finding {
        kind: Kind::OtherClasses,
        severity: Severity::Note,
        what,
        cure: "name classes alike in both sets; a class without training pictures is measured as one \
               that was never seen",
        things,
    };
    (related && !finding.things.is_empty()).then_some(finding)
}

fn told(class: &str, here: &Dataset, there: &Dataset) -> String {
    match there.classes.iter().find(|other| like(other, class)) {
        Some(other) => format!("{class} (only {}; {} has {other})", here.name(), there.name()),
        None => format!("{class} (only {})", here.name()),
    }
}

/// The same letters and digits, whatever their case.
fn like(one: &str, other: &str) -> bool {
    let plain = |name: &str| -> String {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    plain(one) == plain(other)
}
