//! How saved weights differ from what a model wants.

use std::fmt;

/// Weights of each kind that are named one by one; the rest is counted.
const NAMED: usize = 3;

/// What does not fit; nothing where all does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Weights of another shape.
    pub shapes: Vec<OtherShape>,
    /// Weights that the model wants and that are not there.
    pub missing: Vec<String>,
    /// Weights that are there and that the model has no place for.
    pub unexpected: Vec<String>,
}

/// A weight of another shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherShape {
    /// Its full name.
    pub name: String,
    /// By the configuration.
    pub expected: Vec<i64>,
    /// As saved.
    pub found: Vec<i64>,
}

impl Differences {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty() && self.missing.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let shape = |other: &OtherShape| {
            let OtherShape { name, expected, found } = other;
            format!("weight `{name}` has shape {found:?}, the configuration asks for {expected:?}")
        };
        parts.extend(self.shapes.iter().take(NAMED).map(shape));
        if self.shapes.len() > NAMED {
            parts.push(format!("{} more have other shapes", self.shapes.len() - NAMED));
        }
        if !self.missing.is_empty() {
            parts.push(format!("there is no weight {}", some_of(&self.missing)));
        }
        if !self.unexpected.is_empty() {
            let some = some_of(&self.unexpected);
            parts.push(format!("the configuration has no place for the weight {some}"));
        }
        f.write_str(&parts.join("; "))
    }
}

/// The first names and how many more there are.
fn some_of(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    some.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_kind_are_named_and_the_rest_is_counted() {
        let names = |count: usize| (0..count).map(|i| format!("w{i}")).collect();
        let other = |name| OtherShape { name, expected: vec![8, 4], found: vec![4] };
        let shapes: Vec<String> = names(5);
        let all = Differences {
            shapes: shapes.into_iter().map(other).collect(),
            missing: names(4),
            unexpected: names(1),
        };
        assert_eq!(
            all.to_string(),
            "weight `w0` has shape [4], the configuration asks for [8, 4]; \
             weight `w1` has shape [4], the configuration asks for [8, 4]; \
             weight `w2` has shape [4], the configuration asks for [8, 4]; \
             2 more have other shapes; there is no weight `w0`, `w1`, `w2` and 1 more; \
             the configuration has no place for the weight `w0`"
        );
        assert!(!all.is_empty() && Differences::default().is_empty());
    }
}
