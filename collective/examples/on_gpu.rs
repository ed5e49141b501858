//! What moves tensors between the GPUs of a group, how fast, and whether rightly.
//!
//! Places are taken from the environment, as `torchrun` sets it; without it this is a group of one.
#![expect(clippy::print_stdout, reason = "it is a program that says what it found")]

use std::error::Error;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use collective::{Group, Patience, Place};
use tch::{Cuda, Device, Kind, Tensor};

/// How often each operation is timed, after one that is not.
const ROUNDS: u32 = 10;

/// Numbers that are summed: 100 MB of f32.
const SUMMED: i64 = 25_000_000;

/// Rows of each process that are gathered, and their numbers.
const ROWS: [i64; 2] = [4096, 512];

fn main() -> Result<(), Box<dyn Error>> {
    let place = Place::of_environment()?.map_or_else(alone, Ok)?;
    let gpus = usize::try_from(Cuda::device_count())?;
    let device = if gpus > 0 { Device::Cuda(place.local_rank % gpus) } else { Device::Cpu };
    let mut group = Group::join(&place, Patience::default())?;
    group.compute_on(device)?;
    let (rank, size) = (group.rank() as i64, group.size() as i64);
    let say = |words: String| {
        if rank == 0 {
            println!("{words}");
        }
    };
    say(format!("{size} processes, the first on {device:?}, over {}", group.engine()));

    let own = Tensor::ones([SUMMED], (Kind::Float, device)) * (rank + 1);
    let time = timed(device, || {
        let sum = group.sums(std::slice::from_ref(&own))?.remove(0);
        let wrong = sum.ne(size * (size + 1) / 2).any().int64_value(&[]);
        if wrong == 0 { Ok(()) } else { Err("the sum is wrong".into()) }
    })?;
    say(format!("sum of {} MB: {:.2} ms", SUMMED * 4 / 1_000_000, millis(time)));

    let own = Tensor::ones(ROWS, (Kind::Float, device)) * rank;
    let whose =
        Tensor::arange(size, (Kind::Float, device)).repeat_interleave_self_int(ROWS[0], 0, None);
    let time = timed(device, || {
        let (rows, _) = group.gather_rows(&own)?;
        let wrong = rows.ne_tensor(&whose.unsqueeze(1)).any().int64_value(&[]);
        if wrong == 0 { Ok(()) } else { Err("the rows are wrong".into()) }
    })?;
    say(format!("rows of {ROWS:?} from each: {:.2} ms", millis(time)));
    group.close()?;
    say("all was right".to_owned());
    Ok(())
}

/// The only process, at a port that nobody listens at.
fn alone() -> std::io::Result<Place> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let master_addr = "127.0.0.1".to_owned();
    Ok(Place { rank: 0, world_size: 1, local_rank: 0, master_addr, master_port: port })
}

/// The mean time of an operation together with the look at its answer.
fn timed(
    device: Device,
    operation: impl Fn() -> Result<(), Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let done = || match device {
        Device::Cuda(number) => Cuda::synchronize(number as i64),
        Device::Cpu | Device::Mps | Device::Vulkan => {}
    };
    operation()?;
    done();
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        operation()?;
    }
    done();
    Ok(begin.elapsed() / ROUNDS)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
