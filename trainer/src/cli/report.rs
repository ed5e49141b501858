//! What a fine-tune won and what it kept: the table of a line of blends, by `blend` and at the end of
//! `train`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;

use super::eval::percent;
use crate::blend::{Blend, BlendError, Change, Point, recommended};
use crate::curves;
use crate::data::Dataset;
use crate::run::Run;
use crate::tensor_file::write_atomically;
use crate::train::{HeldOut, Surroundings};

/// Shares that are measured at the end of a training: few, since a tower that learns is run over both sets
/// for each.
const SHARES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// The document of a line.
#[derive(Serialize)]
pub(super) struct Swept<'a> {
    labels: String,
    captions: String,
    points: &'a [Point],
    recommended: f64,
    picture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) written: Option<Written>,
    /// Whether the line leads to the mean of a run's checkpoints.
    #[serde(skip)]
    pub(super) of_checkpoints: bool,
}

/// The document of a blend that became a run.
#[derive(Serialize)]
pub(super) struct Written {
    run: String,
    share: f64,
}

impl Written {
    /// The blend at `share` is the run `folder` now.
    pub(super) fn new(folder: &Path, share: f64) -> Self {
        Self { run: folder.display().to_string(), share }
    }

    /// Prints what may come next.
    pub(super) fn print(&self) {
        let Self { run, share } = self;
        println!(
            "{run} is the blend at {share}; write its bundle with: clipsight-trainer export {run} --out BUNDLE"
        );
    }
}

impl<'a> Swept<'a> {
    /// Measured `points` on the sets of `held_out`.
    pub(super) fn new(
        points: &'a [Point],
        recommended: f64,
        held_out: &HeldOut,
        picture: &Path,
    ) -> Self {
        let name =
            |set: &Option<Arc<Dataset>>| set.as_ref().map(|set| set.name()).unwrap_or_default();
        Self {
            labels: name(&held_out.labels),
            captions: name(&held_out.captions),
            points,
            recommended,
            picture: picture.display().to_string(),
            written: None,
            of_checkpoints: false,
        }
    }

    /// What the end and the recommended blend have won and lost, where the start was measured as well.
    fn sentences(&self) -> Vec<String> {
        let (Some(start), Some(end)) = (self.points.first(), self.points.last()) else {
            return Vec::new();
        };
        if self.of_checkpoints || start.share != 0.0 || end.share == 0.0 {
            return Vec::new();
        }
        let best = self.points.iter().find(|point| point.share == self.recommended);
        let name = |point: &Point| match point.share {
            1.0 => "the end".to_owned(),
            share => format!("the blend at {share}"),
        };
        let of = |point: &Point| {
            let Change { top_1, recall_at_10, image_to_text_recall_at_10 } =
                Change::between(start, point);
            format!(
                "{}: {top_1:+.1} points of top-1, {recall_at_10:+.1} and \
                 {image_to_text_recall_at_10:+.1} of R@10",
                name(point)
            )
        };
        let best = best.filter(|best| best.share != end.share && best.share != 0.0);
        [Some(end), best].into_iter().flatten().map(of).collect()
    }
}

/// Prints the line of `run`.
pub(super) fn print_table(swept: &Swept<'_>, run: &Path) {
    println!("won: top-1 on {} · kept: R@10 on {}", swept.labels, swept.captions);
    if swept.of_checkpoints {
        println!("share 0 is the last checkpoint, 1 the mean of all that {} keeps", run.display());
    }
    println!(
        "\n{:>6}{:>10}{:>16}{:>16}{:>10}",
        "share", "top-1", "text → image", "image → text", "mean"
    );
    for point in swept.points {
        let cells =
            [point.top_1, point.recall_at_10, point.image_to_text_recall_at_10, point.mean()];
        let [top_1, text, image, mean] = cells.map(|share| percent(share as f32));
        let mark = if point.share == swept.recommended { "  recommended" } else { "" };
        println!("{:>6}{top_1:>10}{text:>16}{image:>16}{mean:>10}{mark}", point.share);
    }
    println!();
    swept.sentences().iter().for_each(|sentence| println!("{sentence}"));
    println!("{}", swept.picture);
    if let Some(written) = &swept.written {
        written.print();
    }
}

/// Ends a training: measures the way back to the model that it began from, where it began from one, and
/// leaves table and picture in the run's folder. Where there is nothing to measure it says why, and
/// where the recipe does not want it, or there never was a way back, nothing.
pub(super) fn end(run: &Run, around: &mut Surroundings<'_>) -> anyhow::Result<()> {
    let recipe = &run.recipe;
    if !recipe.eval.blend || recipe.model.init.is_none() || !recipe.train.method.knows_words() {
        return Ok(());
    }
    for (key, named, of) in [
        ("eval.labels", recipe.eval.labels.is_some(), "the domain shows what was won"),
        (
            "eval.captions",
            recipe.eval.captions.is_some(),
            "everything else shows what was forgotten",
        ),
    ] {
        if !named {
            around
                .watch
                .say(&format!("no way back is measured: the recipe has no {key}; a set of {of}"));
            return Ok(());
        }
    }
    let mut blend = match Blend::of(run.clone(), &[]) {
        Err(why @ (BlendError::FromNothing { .. } | BlendError::Grown { .. })) => {
            around.watch.say(&format!("no way back is measured: {why}"));
            return Ok(());
        }
        other => other?,
    };
    let held_out = HeldOut::open(recipe)?;
    around.watch.say("measuring what was won and what was kept on the way back to the start");
    let points = blend.sweep(&SHARES, &held_out, around)?;
    let best = recommended(&points).context("there are shares")?.share;
    let picture = run.folder.join("blend.png");
    curves::draw_blend(&points, best, &picture)?;
    let swept = Swept::new(&points, best, &held_out, &picture);
    let file = run.folder.join("blend.json");
    let text = serde_json::to_vec_pretty(&swept)?;
    write_atomically(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    print_table(&swept, &run.folder);
    let folder = run.folder.display();
    match best {
        0.0 => println!(
            "the recommended blend is the start itself: the training won less than it lost"
        ),
        1.0 => println!("the recommended blend is the end itself, the run as it is"),
        share => println!(
            "write the recommended blend with: clipsight-trainer blend {folder} --at {share} --out {folder}-{share}"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(share: f64, top_1: f64, recall: f64) -> Point {
        Point { share, top_1, recall_at_10: recall, image_to_text_recall_at_10: recall / 2.0 }
    }

    fn sentences(points: &[Point], recommended: f64) -> Vec<String> {
        let none = HeldOut { captions: None, labels: None };
        Swept::new(points, recommended, &none, Path::new("x.png")).sentences()
    }

    #[test]
    fn end_and_recommended_blend_are_told_beside_the_start() {
        let points = [point(0.0, 0.25, 0.75), point(0.5, 0.75, 0.75), point(1.0, 0.875, 0.5)];
        assert_eq!(
            sentences(&points, 0.5),
            [
                "the end: +62.5 points of top-1, -25.0 and -12.5 of R@10",
                "the blend at 0.5: +50.0 points of top-1, +0.0 and +0.0 of R@10"
            ]
        );
        assert_eq!(sentences(&points, 1.0).len(), 1);
        assert!(sentences(&points[1..], 0.5).is_empty(), "the start was not measured");
    }
}
