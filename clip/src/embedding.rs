//! A point on the unit sphere that stands for a picture or a text.

use thiserror::Error;

/// A finite vector of unit length, by construction.
///
/// Nothing else reaches an index or a catalogue, so a dot product of two embeddings is their cosine
/// similarity and nobody checks for zeros or NaN again.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Box<[f32]>);

/// Why numbers are not an embedding.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EmbeddingError {
    /// There are no numbers at all.
    #[error("an embedding needs at least one dimension")]
    Empty,
    /// A number is NaN or infinite.
    #[error("dimension {at} of the embedding is not a finite number")]
    NotFinite {
        /// Index of the first such number.
        at: usize,
    },
    /// All numbers are zero, or weighted terms cancel each other: no direction is left.
    #[error("the vector is zero, so it points nowhere")]
    Zero,
    /// Two vectors that belong together have different lengths.
    #[error("expected {expected} dimensions, found {found}")]
    Dimension {
        /// The dimension of the model or of the other vectors.
        expected: usize,
        /// The dimension that was given.
        found: usize,
    },
    /// A stored vector is not a whole number of little-endian f32.
    #[error("{len} bytes are not a whole number of 32-bit floats")]
    Bytes {
        /// The length that was given.
        len: usize,
    },
}

/// Below this length (relative to the sum of the weights' sizes) a weighted sum counts as zero: it
/// is the rounding of f32, not a direction.
const CANCELLED: f64 = 1e-6;

impl Embedding {
    /// Normalizes `values` to unit length.
    ///
    /// The norm is summed in f64: large and tiny finite values neither overflow nor vanish.
    ///
    /// # Errors
    /// [`EmbeddingError::Empty`], [`EmbeddingError::NotFinite`] or [`EmbeddingError::Zero`].
    pub fn new(mut values: Vec<f32>) -> Result<Self, EmbeddingError> {
        if values.is_empty() {
            return Err(EmbeddingError::Empty);
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(EmbeddingError::NotFinite { at });
        }
        let norm = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(EmbeddingError::Zero);
        }
        for v in &mut values {
            *v = (f64::from(*v) / norm) as f32;
        }
        Ok(Self(values.into()))
    }

    /// The normalized weighted sum of embeddings: several terms of one query as one direction.
    ///
    /// # Errors
    /// [`EmbeddingError::Empty`] without terms, [`EmbeddingError::Dimension`] where they differ in
    /// length, [`EmbeddingError::Zero`] where they cancel each other.
    pub fn weighted_sum(terms: &[(f32, &Self)]) -> Result<Self, EmbeddingError> {
        let Some((_, first)) = terms.first() else { return Err(EmbeddingError::Empty) };
        let mut sum = vec![0f64; first.dim()];
        let mut size = 0f64;
        for (weight, term) in terms {
            if term.dim() != sum.len() {
                let (expected, found) = (sum.len(), term.dim());
                return Err(EmbeddingError::Dimension { expected, found });
            }
            size += f64::from(weight.abs());
            for (s, &v) in sum.iter_mut().zip(term.as_slice()) {
                *s += f64::from(*weight) * f64::from(v);
            }
        }
        let norm = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
        if norm <= size * CANCELLED {
            return Err(EmbeddingError::Zero);
        }
        Self::new(sum.into_iter().map(|s| (s / norm) as f32).collect())
    }

    /// The numbers, `[D]`.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The number of dimensions `D`.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// The numbers as an owned vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.0.into_vec()
    }

    /// Cosine similarity in `-1..=1`; over the common dimensions where the lengths differ.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0)
    }

    /// Little-endian f32, as stored in a catalogue.
    #[must_use]
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Reads what [`Self::to_le_bytes`] wrote.
    ///
    /// # Errors
    /// [`EmbeddingError::Bytes`] for a broken length, and the errors of [`Self::new`].
    pub fn from_le_bytes(bytes: &[u8]) -> Result<Self, EmbeddingError> {
        let (chunks, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(EmbeddingError::Bytes { len: bytes.len() });
        }
        Self::new(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_scaled_to_unit_length() {
        let e = Embedding::new(vec![3.0, 4.0]).unwrap();
        assert_eq!(e.as_slice(), [0.6, 0.8]);
        assert!((e.cosine(&e) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn extreme_but_finite_values_survive() {
        let e = Embedding::new(vec![f32::MAX, f32::MAX]).unwrap();
        assert!((e.as_slice()[0] - 0.5f32.sqrt()).abs() < 1e-6);
        let e = Embedding::new(vec![f32::MIN_POSITIVE, 0.0]).unwrap();
        assert_eq!(e.as_slice(), [1.0, 0.0]);
    }

    #[test]
    fn what_points_nowhere_is_refused() {
        assert_eq!(Embedding::new(vec![]), Err(EmbeddingError::Empty));
        assert_eq!(Embedding::new(vec![0.0; 3]), Err(EmbeddingError::Zero));
        assert_eq!(Embedding::new(vec![0.0, f32::NAN]), Err(EmbeddingError::NotFinite { at: 1 }));
        assert_eq!(Embedding::new(vec![f32::INFINITY]), Err(EmbeddingError::NotFinite { at: 0 }));
    }

    #[test]
    fn a_weighted_sum_subtracts_and_normalizes() {
        let x = Embedding::new(vec![1.0, 0.0]).unwrap();
        let y = Embedding::new(vec![0.0, 1.0]).unwrap();
        let sum = Embedding::weighted_sum(&[(1.0, &x), (-1.0, &y)]).unwrap();
        assert_eq!(sum, Embedding::new(vec![1.0, -1.0]).unwrap());
    }

    #[test]
    fn terms_that_cancel_are_an_error() {
        let x = Embedding::new(vec![0.3, 0.4, -0.2]).unwrap();
        assert_eq!(Embedding::weighted_sum(&[(0.7, &x), (-0.7, &x)]), Err(EmbeddingError::Zero));
        let z = Embedding::new(vec![1.0]).unwrap();
        assert_eq!(
            Embedding::weighted_sum(&[(1.0, &x), (1.0, &z)]),
            Err(EmbeddingError::Dimension { expected: 3, found: 1 })
        );
    }

    #[test]
    fn bytes_round_trip() {
        let e = Embedding::new(vec![0.1, -0.7, 0.3]).unwrap();
        let back = Embedding::from_le_bytes(&e.to_le_bytes()).unwrap();
        assert!(e.as_slice().iter().zip(back.as_slice()).all(|(a, b)| (a - b).abs() < 1e-7));
        assert_eq!(Embedding::from_le_bytes(&[0; 5]), Err(EmbeddingError::Bytes { len: 5 }));
    }
}
