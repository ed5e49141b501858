//! Which class was taken for which.

use serde::Serialize;

/// Mistakes that are listed.
const LISTED: usize = 10;

/// Counts of pictures by their class and by what they were taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// For each class how often its pictures were taken for each.
    pub counts: Vec<Vec<usize>>,
}

/// A class whose pictures were taken for another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// What they show.
    pub class: String,
    /// What they were taken for.
    pub taken_for: String,
    /// How many.
    pub pictures: usize,
}

impl Confusion {
    /// Counts pictures of the classes `truth` that were taken for `guesses`.
    #[must_use]
    pub fn of(classes: &[String], truth: &[usize], guesses: &[usize]) -> Self {
        let mut counts = vec![vec![0; classes.len()]; classes.len()];
        for (&class, &guess) in truth.iter().zip(guesses) {
            counts[class][guess] += 1;
        }
        Self { classes: classes.to_vec(), counts }
    }

    /// The most frequent mistakes, in the order of the classes where they are equally frequent.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut all = Vec::new();
        for (class, row) in self.counts.iter().enumerate() {
            let others = row.iter().enumerate().filter(|(guess, n)| *guess != class && **n > 0);
            all.extend(others.map(|(guess, &pictures)| (pictures, class, guess)));
        }
        all.sort_by_key(|&(pictures, class, guess)| (usize::MAX - pictures, class, guess));
        let named = |(pictures, class, guess): (usize, usize, usize)| Mistake {
            class: self.classes[class].clone(),
            taken_for: self.classes[guess].clone(),
            pictures,
        };
        all.into_iter().take(LISTED).map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_mistakes_come_first() {
        let classes = ["cat", "dog", "fox"].map(str::to_owned);
        let confusion = Confusion::of(&classes, &[0, 0, 1, 1, 1, 2], &[0, 2, 0, 0, 1, 2]);
        assert_eq!(confusion.counts, [[1, 0, 1], [2, 1, 0], [0, 0, 1]]);
        let told: Vec<(String, String, usize)> = confusion
            .mistakes()
            .into_iter()
            .map(|mistake| (mistake.class, mistake.taken_for, mistake.pictures))
            .collect();
        let expected = [("dog", "cat", 2), ("cat", "fox", 1)];
        assert_eq!(told, expected.map(|(a, b, n)| (a.to_owned(), b.to_owned(), n)));
    }
}
