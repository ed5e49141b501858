//! Pairs that no picture shows: a class as the image tower's own classifier knows it, and one of its
//! names. They teach the projections where words lie that no caption has.
//!
//! Each is two parts as the tower's pooled output has them. The first is the class's row of the
//! classifier, less the mean of all rows, in standardized coordinates and as long as a picture's answer is
//! there (√hidden), times 0.7 to 1.3; and to it comes what a picture of the training sets differs from
//! the mean, as a picture is of more than one thing. The second is the mixture of classes that is
//! sure of this one by 0.3 to 1.

use rand::RngExt;
use rand::seq::index::sample;
use tch::{Kind, TchError, Tensor};

use super::TrainError;
use super::images::mean_and_deviation;
use crate::data::mixture::{Draw, random};
use crate::encoder::Encoder;
use crate::model::{CLASSES, ModelError, Side};
use crate::recipe::Recipe;

/// Lengths, as shares of a picture's.
const LENGTHS: std::ops::Range<f32> = 0.7..1.3;

/// How sure of its class a mixture is.
const SURE: std::ops::Range<f32> = 0.3..1.0;

/// Apart from the streams of the [`mixture`](crate::data::mixture) of the sets and of the augmentations.
const STREAM: u64 = 1 << 61;

/// Where they come from.
pub(super) struct ClassPictures {
    /// How many a step has.
    count: usize,
    /// `[labels, hidden]`: what a class differs from the mean picture, as long as a picture does.
    rows: Tensor,
    /// `[hidden]`: the mean picture.
    mean: Tensor,
    /// `[R, hidden]`: what each picture of the training sets differs from it.
    pictures: Tensor,
    /// `[text hidden]`: the mixture that is sure of nothing.
    unsure: Tensor,
    /// `[labels, text hidden]`: what each class's mixture differs from it.
    names: Tensor,
    /// How many names each class has.
    name_counts: Vec<usize>,
    seed: u64,
}

/// Those of one step.
pub(super) struct DrawnClasses {
    /// Pooled, as the image tower's: `[K, hidden + text hidden]`.
    pub(super) images: Tensor,
    /// The pair is the class, the caption its name.
    pub(super) draws: Vec<Draw>,
}

impl ClassPictures {
    /// Those that `recipe` asks for, none where it asks for none; `pooled` is what the image tower answers
    /// for the pictures of the training sets before the first step, `[R, …]`, which is known where any are
    /// asked for.
    ///
    /// # Errors
    /// [`TrainError::ClassPictures`] where they cannot be made.
    pub(super) fn prepare(
        recipe: &Recipe,
        encoder: &Encoder,
        pooled: Option<&Tensor>,
    ) -> Result<Option<Self>, TrainError> {
        let (count, labels) = (recipe.train.class_pictures, encoder.classes.len());
        let Some(pooled) = pooled.filter(|_| count > 0) else { return Ok(None) };
        let cannot = |reason: String| TrainError::ClassPictures { count, reason };
        if count > labels {
            return Err(cannot(format!("model.image.classes has only {labels}")));
        }
        let Some(classes) = encoder.model.classes() else {
            return Err(cannot("the model has no classes".to_owned()));
        };
        let fc = encoder.weights.get(&format!("{CLASSES}_fc.weight"))?;
        let names = encoder.weights.get(&classes.names_parameter().name)?;
        let own = encoder.own_part(Side::Image, pooled)?;
        // A projection that learned with standardized inputs goes on with the same ones.
        let [mean, std] = encoder.model.projection(Side::Image).measured();
        let [mean, std] = match (encoder.weights.get(&mean), encoder.weights.get(&std)) {
            (Ok(mean), Ok(std)) => [mean.shallow_clone(), std.shallow_clone()],
            _ => mean_and_deviation(&own).map_err(refused)?,
        };
        let all = tch::no_grad(|| Self::of([fc, &mean, &std, names, &own]));
        let [rows, pictures, unsure, names] = all.map_err(refused)?;
        let name_counts = encoder.classes.iter().map(Vec::len).collect();
        let seed = recipe.train.seed;
        Ok(Some(Self { count, rows, mean, pictures, unsure, names, name_counts, seed }))
    }

    /// `rows`, `pictures`, `unsure` and `names` from the classifier's weight `[labels, hidden]`, mean and
    /// deviation `[hidden]`, the names' answers `[text hidden, labels]` and pooled `[R, hidden]`.
    fn of([fc, mean, std, names, pooled]: [&Tensor; 5]) -> Result<[Tensor; 4], TchError> {
        let center = |x: &Tensor| x.f_mean_dim([0i64].as_slice(), true, Kind::Float);
        let rows = fc.f_mul(std)?; // a row times a picture is the same in standardized coordinates
        let rows = rows.f_sub(&center(&rows)?)?;
        let length = rows.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?.f_clamp_min(1e-12)?;
        let rows = rows.f_div(&length)?.f_mul_scalar((fc.size()[1] as f64).sqrt())?.f_mul(std)?;
        let names = names.f_tr()?; // [labels, text hidden]
        let unsure = center(&names)?;
        let differ = names.f_sub(&unsure)?;
        Ok([rows, pooled.f_sub(mean)?, unsure.f_squeeze_dim(0)?, differ])
    }

    /// Those of the step after `step`, a function of it and of the seed; `set` is a number that no set
    /// of the recipe has.
    ///
    /// # Errors
    /// [`TrainError`] where libtorch refuses.
    pub(super) fn draw(
        &self,
        encoder: &Encoder,
        step: u64,
        set: usize,
    ) -> Result<DrawnClasses, TrainError> {
        let mut rng = random(self.seed, step, STREAM);
        let classes = sample(&mut rng, self.name_counts.len(), self.count).into_vec();
        let pictures = self.pictures.size()[0];
        let noise: Vec<i64> = classes.iter().map(|_| rng.random_range(0..pictures)).collect();
        let lengths: Vec<f32> = classes.iter().map(|_| rng.random_range(LENGTHS)).collect();
        let sure: Vec<f32> = classes.iter().map(|_| rng.random_range(SURE)).collect();
        let draw = |&pair: &usize| {
            let caption = rng.random_range(0..self.name_counts[pair]);
            Draw { set, pair, caption, turn: 0 }
        };
        let draws = classes.iter().map(draw).collect();
        let rows: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
        let moved = |numbers: Tensor| encoder.moved(&numbers);
        let (rows, noise) = (moved(Tensor::from_slice(&rows))?, moved(Tensor::from_slice(&noise))?);
        let lengths = moved(Tensor::from_slice(&lengths))?.unsqueeze(1); // [K, 1]
        let sure = moved(Tensor::from_slice(&sure))?.unsqueeze(1); // [K, 1]
        let images = || -> Result<Tensor, TchError> {
            let own = self.rows.f_index_select(0, &rows)?.f_mul(&lengths)?;
            let own = own.f_add(&self.pictures.f_index_select(0, &noise)?)?.f_add(&self.mean)?;
            let names = self.names.f_index_select(0, &rows)?.f_mul(&sure)?;
            Tensor::f_cat(&[own, names.f_add(&self.unsure)?], 1)
        };
        Ok(DrawnClasses { images: images().map_err(refused)?, draws })
    }
}

fn refused(source: TchError) -> ModelError {
    ModelError::Torch { operation: "class_pictures", name: CLASSES.to_owned(), source }
}
