//! Where a process stands among all, as `torchrun` tells it in the environment.

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub world_size: usize,
    /// Its number among those of its machine: which GPU is its.
    pub local_rank: usize,
    /// Where process 0 is reached: a name or an address.
    pub master_addr: String,
    /// And at which port.
    pub master_port: u16,
}

/// Why the environment does not say where a process stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Some is told and some is not.
    #[error(
        "{set} is set in the environment, but not {missing}; set all of RANK, WORLD_SIZE, LOCAL_RANK, \
         MASTER_ADDR and MASTER_PORT, as torchrun does, or none for a single process"
    )]
    Incomplete {
        /// One that is there.
        set: &'static str,
        /// Those that are not.
        missing: String,
    },
    /// A value that is none.
    #[error("{name}={value} in the environment is no {wanted}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A number beyond the last.
    #[error(
        "{name}={rank}, but WORLD_SIZE={world_size}: with {world_size} processes the last has \
         the number {}", world_size - 1
    )]
    Beyond {
        /// The variable.
        name: &'static str,
        /// What it says.
        rank: usize,
        /// How many there are, at least one.
        world_size: usize,
    },
}

/// All that `torchrun` sets for where a process stands.
const NAMES: [&str; 5] = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"];

impl Place {
    /// Of this process; none where the environment tells nothing, or of a single process.
    ///
    /// # Errors
    /// [`PlaceError`], naming the variable.
    pub fn of_environment() -> Result<Option<Self>, PlaceError> {
        Self::told_by(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    fn told_by(told: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, PlaceError> {
        let values = NAMES.map(|name| told(name).filter(|value| !value.is_empty()));
        let there = |there: bool| {
            NAMES.iter().zip(&values).filter(move |(_, v)| v.is_some() == there).map(|(n, _)| *n)
        };
        let Some(set) = there(true).next() else { return Ok(None) };
        let [Some(rank), Some(size), Some(local), Some(addr), Some(port)] = &values else {
            let missing = there(false).collect::<Vec<_>>().join(", ");
            return Err(PlaceError::Incomplete { set, missing });
        };
        let world_size = number("WORLD_SIZE", size)?;
        let place = Self {
            rank: number("RANK", rank)?,
            world_size,
            local_rank: number("LOCAL_RANK", local)?,
            master_addr: addr.clone(),
            master_port: parsed("MASTER_PORT", port, "port, a number from 1 to 65535")?,
        };
        if world_size == 0 {
            let value = size.clone();
            return Err(PlaceError::Value { name: "WORLD_SIZE", value, wanted: "number above 0" });
        }
        for (name, rank) in [("RANK", place.rank), ("LOCAL_RANK", place.local_rank)] {
            if rank >= world_size {
                return Err(PlaceError::Beyond { name, rank, world_size });
            }
        }
        if place.master_port == 0 {
            let (value, wanted) = (port.clone(), "port, a number from 1 to 65535");
            return Err(PlaceError::Value { name: "MASTER_PORT", value, wanted });
        }
        Ok((world_size > 1).then_some(place))
    }
}

fn number(name: &'static str, value: &str) -> Result<usize, PlaceError> {
    // c10d counts processes in 32 bits.
    let count: u32 = parsed(name, value, "number of a process or of processes")?;
    match usize::try_from(count) {
        Ok(count) if i32::try_from(count).is_ok() => Ok(count),
        _ => Err(PlaceError::Value { name, value: value.to_owned(), wanted: "number so small" }),
    }
}

fn parsed<T: std::str::FromStr>(
    name: &'static str,
    value: &str,
    wanted: &'static str,
) -> Result<T, PlaceError> {
    value.trim().parse().map_err(|_| PlaceError::Value { name, value: value.to_owned(), wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[(&str, &str)]) -> Result<Option<Place>, PlaceError> {
        Place::told_by(|name| {
            values.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
        })
    }

    fn with(name: &str, value: &'static str) -> String {
        let mut all = [
            ("RANK", "1"),
            ("WORLD_SIZE", "3"),
            ("LOCAL_RANK", "0"),
            ("MASTER_ADDR", "10.0.0.1"),
            ("MASTER_PORT", "29500"),
        ];
        all.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, v)| *v = value);
        match told(&all) {
            Ok(place) => format!("{place:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn nothing_said_and_one_of_one_are_a_single_process() {
        assert_eq!(told(&[]), Ok(None));
        assert_eq!(told(&[("RANK", "")]), Ok(None));
        let one = [
            ("RANK", "0"),
            ("WORLD_SIZE", "1"),
            ("LOCAL_RANK", "0"),
            ("MASTER_ADDR", "localhost"),
            ("MASTER_PORT", "1"),
        ];
        assert_eq!(told(&one), Ok(None));
    }

    #[test]
    fn what_torchrun_says_is_understood_and_what_is_wrong_is_named() {
        assert!(with("", "").contains("rank: 1, world_size: 3, local_rank: 0"));
        for (name, value, words) in [
            ("RANK", "", "WORLD_SIZE is set in the environment, but not RANK"),
            ("RANK", "one", "RANK=one in the environment is no number"),
            ("RANK", "-1", "RANK=-1 in the environment is no number"),
            ("RANK", "3", "RANK=3, but WORLD_SIZE=3: with 3 processes the last has the number 2"),
            ("LOCAL_RANK", "7", "LOCAL_RANK=7, but WORLD_SIZE=3"),
            ("WORLD_SIZE", "0", "WORLD_SIZE=0 in the environment is no number above 0"),
            ("WORLD_SIZE", "4294967295", "is no number so small"),
            ("MASTER_PORT", "http", "MASTER_PORT=http in the environment is no port"),
            ("MASTER_PORT", "70000", "MASTER_PORT=70000 in the environment is no port"),
            ("MASTER_PORT", "0", "MASTER_PORT=0 in the environment is no port"),
        ] {
            let said = with(name, value);
            assert!(said.contains(words), "{name}={value}: {said}");
        }
        let two = told(&[("MASTER_ADDR", "a"), ("RANK", "0")]).unwrap_err().to_string();
        assert!(two.contains("but not WORLD_SIZE, LOCAL_RANK, MASTER_PORT"), "{two}");
    }
}
