//! What a point of the line is worth, and which one is worth most.

use serde::Serialize;

/// What a point of the line is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Share of the end; 0 is the start.
    pub share: f64,
    /// Accuracy on the labelled set, the domain.
    pub top_1: f64,
    /// Recall of pictures by words on the set with captions, which stands for everything else.
    pub recall_at_10: f64,
    /// The same of words by pictures.
    pub image_to_text_recall_at_10: f64,
}

impl Point {
    /// The mean of accuracy and recall both ways, the two recalls counting as one figure.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let recall = (self.recall_at_10 + self.image_to_text_recall_at_10) / 2.0;
        (self.top_1 + recall) / 2.0
    }
}

/// By how much a model is above another, in points of a hundred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Accuracy on the labelled set.
    pub top_1: f64,
    /// Recall of pictures by words.
    pub recall_at_10: f64,
    /// Recall of words by pictures.
    pub image_to_text_recall_at_10: f64,
}

impl Change {
    /// From one point of the line to another.
    #[must_use]
    pub fn between(from: &Point, to: &Point) -> Self {
        let points = |value: fn(&Point) -> f64| 100.0 * (value(to) - value(from));
        Self {
            top_1: points(|point| point.top_1),
            recall_at_10: points(|point| point.recall_at_10),
            image_to_text_recall_at_10: points(|point| point.image_to_text_recall_at_10),
        }
    }
}

/// The point with the highest mean of what was won and what was kept; of equals the one nearest to
/// the start. None of no points.
#[must_use]
pub fn recommended(points: &[Point]) -> Option<&Point> {
    let better = |one: &Point, other: &Point| {
        one.mean().total_cmp(&other.mean()).then(other.share.total_cmp(&one.share))
    };
    points.iter().max_by(|one, other| better(one, other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(share: f64, top_1: f64, recall: f64) -> Point {
        let (recall_at_10, image_to_text_recall_at_10) = (recall, recall);
        Point { share, top_1, recall_at_10, image_to_text_recall_at_10 }
    }

    #[test]
    fn the_best_mean_is_recommended_and_of_equals_the_nearest_to_the_start() {
        let points = [
            point(0.0, 0.25, 0.75),
            point(0.5, 0.75, 0.75),
            point(0.75, 0.875, 0.625),
            point(1.0, 0.875, 0.5),
        ];
        assert_eq!(recommended(&points).unwrap().share, 0.5);
        assert_eq!(recommended(&points[2..]).unwrap().share, 0.75);
        assert_eq!(recommended(&[]), None);
    }

    #[test]
    fn a_change_is_told_in_points() {
        let change = Change::between(&point(0.0, 0.25, 0.75), &point(1.0, 0.875, 0.5));
        assert_eq!((change.top_1, change.recall_at_10), (62.5, -25.0));
    }
}
