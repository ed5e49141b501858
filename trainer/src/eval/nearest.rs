//! Classes by the nearest pictures (Wu et al. 2018, section 3.4).

use tch::{Kind, TchError, Tensor};

use super::probe::Features;

/// Neighbors that vote.
pub const NEIGHBORS: i64 = 20;

/// A neighbor's vote weighs exp(cosine / this).
const TEMPERATURE: f64 = 0.07;

/// Rows of the matrix of cosines that stand in memory at once.
const ROWS: i64 = 1024;

/// The class that the 20 nearest of `train` give to each of `features`, `[N]`; both have rows of
/// length one. Where `train` has fewer, all of them vote.
///
/// # Errors
/// libtorch's, for features of several lengths.
pub fn by_neighbors(train: &Features, features: &Features) -> Result<Tensor, TchError> {
    let neighbors = NEIGHBORS.min(train.rows.size()[0]);
    let gallery = train.rows.f_tr()?; // [D, T]
    let votes = |rows: Tensor| {
        let (cosines, nearest) = rows.f_matmul(&gallery)?.f_topk(neighbors, 1, true, true)?; // [R, K]
        let weights = cosines.f_sub_scalar(1.0)?.f_div_scalar(TEMPERATURE)?.f_exp()?; // [R, K]
        let classes = train.classes.f_take(&nearest)?; // [R, K]
        let shape = [rows.size()[0], train.class_count];
        let votes = Tensor::f_zeros(shape, (Kind::Double, rows.device()))?;
        votes.f_scatter_add(1, &classes, &weights)?.f_argmax(1, false)
    };
    let chunks = features.rows.f_split(ROWS, 0)?;
    Tensor::f_cat(&chunks.into_iter().map(votes).collect::<Result<Vec<_>, _>>()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(degrees: &[f32], classes: &[usize]) -> Features {
        let vectors: Vec<[f32; 2]> =
            degrees.iter().map(|d| [d.to_radians().cos(), d.to_radians().sin()]).collect();
        let vectors: Vec<&[f32]> = vectors.iter().map(<[f32; 2]>::as_slice).collect();
        Features::new(&vectors, classes, 3).unwrap()
    }

    fn voted(train: &Features, degrees: &[f32]) -> Vec<i64> {
        let features = at(degrees, &vec![0; degrees.len()]);
        Vec::<i64>::try_from(&by_neighbors(train, &features).unwrap()).unwrap()
    }

    #[test]
    fn a_near_neighbor_outweighs_several_far_ones() {
        // exp(cos 1° / 0.07) against three times exp(cos 40° / 0.07): 28 times as much as one.
        let train = at(&[1.0, 40.0, 40.0, 40.0], &[2, 1, 1, 1]);
        assert_eq!(voted(&train, &[0.0, 39.0]), [2, 1]);
    }

    #[test]
    fn twenty_vote_and_no_more() {
        // Twenty at 10° outvote one at 0°; thirty more of a third class lie further off.
        let degrees = [&[0.0][..], &[10.0; 20], &[11.0; 30]].concat();
        let classes = [&[0][..], &[1; 20], &[2; 30]].concat();
        assert_eq!(voted(&at(&degrees, &classes), &[5.0]), [1]);
    }
}
