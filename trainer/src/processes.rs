//! This process among those that compute along. Alone, everything is its own share.
//!
//! Every call is made by all processes, in the same order, and answers the same in all of them.

use std::ops::Range;

use collective::{Engine, Error, Group};
use tch::{TchError, Tensor};

/// The processes that train together, or this one alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Processes<'a>(Option<&'a Group>);

impl<'a> Processes<'a> {
    /// This one alone.
    pub const ALONE: Self = Self(None);

    /// Those of `group`.
    #[must_use]
    pub fn of(group: &'a Group) -> Self {
        Self(Some(group))
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.map_or(1, Group::size)
    }

    /// Whether this is the one that writes files and speaks.
    #[must_use]
    pub fn is_first(self) -> bool {
        self.0.is_none_or(|group| group.rank() == 0)
    }

    /// The number of this process among those of its machine.
    #[must_use]
    pub fn local_rank(self) -> usize {
        self.0.map_or(0, Group::local_rank)
    }

    /// What moves tensors between GPUs; none where there is nobody else.
    #[must_use]
    pub fn engine(self) -> Option<&'a Engine> {
        self.0.map(Group::engine)
    }

    /// Which of `count` things this process takes: a stretch of them.
    #[must_use]
    pub fn share(self, count: usize) -> Range<usize> {
        self.0.map_or(0..count, |group| group.share(count, group.rank()))
    }

    /// The rows `[R, …]` of all processes, one below the other; and how many lie above this one's.
    ///
    /// # Errors
    /// As [`Group::gather_rows`].
    pub fn rows(self, own: Tensor) -> Result<(Tensor, usize), Error> {
        let Some(group) = self.0 else { return Ok((own, 0)) };
        let (all, counts) = group.gather_rows(&own)?;
        Ok((all, counts[..group.rank()].iter().sum()))
    }

    /// What each process has to say, in their order.
    ///
    /// # Errors
    /// As [`Group::gather_bytes`].
    pub fn told(self, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Error> {
        match self.0 {
            Some(group) => group.gather_bytes(&own),
            None => Ok(vec![own]),
        }
    }

    /// What is said of words of another process that cannot be read.
    #[must_use]
    pub fn not_understood(source: serde_json::Error) -> Error {
        Error::Torch { reason: format!("a process says what this one cannot read: {source}") }
    }

    /// What the first process says.
    ///
    /// # Errors
    /// As [`Group::from_first`].
    pub fn told_by_first(self, own: Vec<u8>) -> Result<Vec<u8>, Error> {
        match self.0 {
            Some(group) => group.from_first(&own),
            None => Ok(own),
        }
    }

    /// Whether any process says yes.
    ///
    /// # Errors
    /// As [`Group::any`].
    pub fn any(self, own: bool) -> Result<bool, Error> {
        self.0.map_or(Ok(own), |group| group.any(own))
    }

    /// Refuses to go on where `value`, named `what`, is not the same in all processes.
    ///
    /// # Errors
    /// As [`Group::agree`].
    pub fn agree(self, what: &str, value: &str) -> Result<(), Error> {
        self.0.map_or(Ok(()), |group| group.agree(what, value))
    }

    /// The sums of `own` over all processes, undefined where none of them has any; `like` has their
    /// shapes.
    ///
    /// # Errors
    /// As [`Group::sums`].
    pub fn sums(self, own: Vec<Tensor>, like: &[&Tensor]) -> Result<Vec<Tensor>, Error> {
        let Some(group) = self.0 else { return Ok(own) };
        let defined: Vec<i64> = own.iter().map(|tensor| i64::from(tensor.defined())).collect();
        let defined = group.sums(&[Tensor::from_slice(&defined)])?.remove(0);
        let defined = Vec::<i64>::try_from(defined)?;
        let zeros = |(own, like): (&Tensor, &&Tensor)| match own.defined() {
            true => Ok(own.shallow_clone()),
            false => like.f_zeros_like(),
        };
        let summands = own.iter().zip(like).zip(&defined);
        let summands = summands.filter(|(_, count)| **count > 0).map(|(pair, _)| zeros(pair));
        let summands = summands.collect::<Result<Vec<_>, TchError>>()?;
        let mut sums = group.sums(&summands)?.into_iter();
        let sum = |&count: &i64| (count > 0).then(|| sums.next()).flatten();
        Ok(defined.iter().map(sum).map(Option::unwrap_or_default).collect())
    }
}
