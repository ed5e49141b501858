//! What a step works on: a parameter with its gradient and what is remembered of it, cut on a CPU
//! into pieces that stay in a core's cache, and shared out among threads.

use tch::{Device, TchError, Tensor};

/// Numbers of a parameter that a thread takes at a time on a CPU: with memories and gradient they
/// stay in its cache from the first of a dozen passes to the last, so that a step costs memory no
/// more than one pass.
pub(super) const PIECE: usize = 1 << 15;

/// The same place of a parameter, of what is remembered of it, and of its gradient.
pub(super) struct Part {
    /// Without autograd; shares its storage with the parameter.
    pub(super) tensor: Tensor,
    /// Those of the rule, in its order.
    pub(super) memories: Vec<Tensor>,
    /// As autograd gave it, which may have given it to another parameter too: never written to.
    pub(super) gradient: Tensor,
    /// How much changes.
    pub(super) change: Change,
}

/// How much a parameter changes in this step.
pub(super) struct Change {
    /// Its learning rate at this moment of the schedule.
    pub(super) rate: f64,
    /// Strength of its weight decay.
    pub(super) decay: f64,
    /// Whether it has a trust ratio, in the rules that know one.
    pub(super) adapts: bool,
    /// What its gradient is multiplied by, a scalar tensor.
    pub(super) scale: Option<Tensor>,
    /// Its trust ratio, likewise.
    pub(super) trust: Option<Tensor>,
}

/// Room for intermediate results of a piece, two of its length.
pub(super) type Scratch = [Tensor; 2];

impl Change {
    fn share(&self) -> Self {
        let share = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::shallow_clone);
        Self { scale: share(&self.scale), trust: share(&self.trust), ..*self }
    }
}

impl Part {
    /// How many pieces it is cut into.
    pub(super) fn count(&self) -> usize {
        self.tensor.numel().div_ceil(self.longest())
    }

    /// Numbers of a piece, but for the last; on a GPU a part stays whole.
    fn longest(&self) -> usize {
        let all = self.tensor.numel().max(1);
        if self.tensor.device() == Device::Cpu { PIECE.min(all) } else { all }
    }

    /// Its pieces, flat and in their order.
    fn pieces(&self) -> Result<Vec<Self>, TchError> {
        let (tensor, gradient) = (self.tensor.f_view([-1])?, self.gradient.f_reshape([-1])?);
        let memories = self.memories.iter().map(|memory| memory.f_view([-1]));
        let memories = memories.collect::<Result<Vec<_>, _>>()?;
        let (total, length) = (tensor.size1()?, self.longest() as i64);
        let piece = |number: usize| {
            let start = number as i64 * length;
            let narrow = |whole: &Tensor| whole.f_narrow(0, start, length.min(total - start));
            Ok(Self {
                tensor: narrow(&tensor)?,
                memories: memories.iter().map(narrow).collect::<Result<_, _>>()?,
                gradient: narrow(&gradient)?,
                change: self.change.share(),
            })
        };
        (0..self.count()).map(piece).collect()
    }

    /// Writes the gradient at its scale into `room`.
    pub(super) fn scaled_gradient(&self, room: &Tensor) -> Result<(), TchError> {
        match &self.change.scale {
            Some(scale) => drop(self.gradient.f_mul_out(room, scale)?),
            None => room.shallow_clone().f_copy_(&self.gradient)?,
        }
        Ok(())
    }
}

/// The pieces of all parts, in their order.
pub(super) fn cut(parts: &[Part]) -> Result<Vec<Part>, TchError> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(part.pieces()?);
    }
    Ok(all)
}

/// Does `work` with every piece, by as many threads as libtorch has on a CPU; answers in the order of
/// the pieces.
///
/// # Errors
/// The first of libtorch's.
pub(super) fn each<T: Send>(
    mut pieces: Vec<Part>,
    work: impl Fn(Part, &Scratch) -> Result<T, TchError> + Copy + Send,
) -> Result<Vec<T>, TchError> {
    let share = pieces.len().div_ceil(threads(&pieces)).max(1);
    std::thread::scope(|scope| {
        let mut working = Vec::new();
        while !pieces.is_empty() {
            let rest = pieces.split_off(share.min(pieces.len()));
            let mine = std::mem::replace(&mut pieces, rest);
            working.push(scope.spawn(move || one_after_the_other(mine, work)));
        }
        let mut answers = Vec::new();
        for thread in working {
            let mine = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            answers.extend(mine?);
        }
        Ok(answers)
    })
}

fn one_after_the_other<T>(
    pieces: Vec<Part>,
    work: impl Fn(Part, &Scratch) -> Result<T, TchError>,
) -> Result<Vec<T>, TchError> {
    tch::no_grad(|| {
        let Some(longest) = pieces.iter().max_by_key(|piece| piece.tensor.numel()) else {
            return Ok(Vec::new());
        };
        let room = [longest.tensor.f_empty_like()?, longest.tensor.f_empty_like()?];
        let answer = |piece: Part| {
            let length = piece.tensor.size1()?;
            let [a, b] = [&room[0], &room[1]].map(|whole| whole.f_narrow(0, 0, length));
            work(piece, &[a?, b?])
        };
        pieces.into_iter().map(answer).collect()
    })
}

/// As many as libtorch uses on a CPU; a GPU is fed by one.
fn threads(pieces: &[Part]) -> usize {
    match pieces.first() {
        Some(piece) if piece.tensor.device() == Device::Cpu => {
            usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
        }
        _ => 1,
    }
}
