//! Processes that compute together, here as threads, each with connections of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a test says what it cannot try on this machine")]

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use collective::{Engine, Error, Group, Patience, Place};
use tch::{Cuda, Device, Kind, Tensor};

const PATIENCE: Patience =
    Patience { joining: Duration::from_secs(20), silence: Duration::from_secs(2) };

fn place(rank: usize, world_size: usize, master_port: u16) -> Place {
    let master_addr = "127.0.0.1".to_owned();
    Place { rank, world_size, local_rank: rank, master_addr, master_port }
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What each of `size` processes answers.
fn together<T: Send>(size: usize, work: impl Fn(Group) -> T + Sync) -> Vec<T> {
    let port = free_port();
    let join = |rank| Group::join(&place(rank, size, port), PATIENCE).unwrap();
    thread::scope(|scope| {
        let one = |rank| {
            scope.spawn({
                let work = &work;
                move || work(join(rank))
            })
        };
        let all: Vec<_> = (0..size).map(one).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn sums_and_rows_are_the_same_to_the_bit_everywhere() {
    for size in [2, 3] {
        let answers = together(size, |group| {
            let rank = group.rank() as i64;
            // Numbers whose sum depends on the order of adding.
            let own = (Tensor::arange(1000, (Kind::Float, tch::Device::Cpu)) + rank).sin();
            let sum = group.sums(&[own]).unwrap().remove(0);
            let rows = match rank {
                0 => Tensor::zeros([0], (Kind::Half, tch::Device::Cpu)),
                _ => Tensor::full([2 * rank, 3], rank, (Kind::Half, tch::Device::Cpu)),
            };
            let (rows, counts) = group.gather_rows(&rows).unwrap();
            assert_eq!(counts, (0..size).map(|rank| 2 * rank).collect::<Vec<_>>());
            let words = group.gather_bytes("x".repeat(group.rank()).as_bytes()).unwrap();
            let first = group.from_first(format!("of {rank}").as_bytes()).unwrap();
            let any = [false, rank == 1].map(|own| group.any(own).unwrap());
            group.close().unwrap();
            (sum, rows, words, first, any)
        });
        for (sum, rows, words, first, any) in &answers {
            assert!(*sum == answers[0].0);
            let expected: Vec<i64> =
                (0..size as i64).flat_map(|r| vec![r; 2 * r as usize]).collect();
            let expected = Tensor::from_slice(&expected).to_kind(Kind::Half).unsqueeze(1);
            assert!(*rows == expected.expand([-1, 3], false), "{rows:?}");
            let lengths: Vec<usize> = words.iter().map(Vec::len).collect();
            assert_eq!(lengths, (0..size).collect::<Vec<_>>());
            assert_eq!((first.as_slice(), *any), (b"of 0".as_slice(), [false, true]));
        }
        let expected: f64 = (0..size).map(|rank| (7.0 + rank as f64).sin()).sum();
        assert!((answers[0].0.double_value(&[7]) - expected).abs() < 1e-6);
    }
}

#[test]
fn shares_cover_everything_once() {
    let shares = together(3, |group| {
        let shares: Vec<_> = (0..3).map(|rank| group.share(10, rank)).collect();
        group.close().unwrap();
        shares
    });
    assert_eq!(shares[0], [0..3, 3..6, 6..10]);
}

#[test]
fn what_differs_is_shown_with_who_differs() {
    for error in together(2, |group| {
        let value = format!("batch_size = 8\nepochs = {}\n", 2 + group.rank());
        let error = group.agree("recipe", &value).unwrap_err();
        group.close().unwrap();
        error.to_string()
    }) {
        assert!(error.contains("RANK=1 (of 2, host "), "{error}");
        assert!(error.contains("another recipe"), "{error}");
        assert!(error.contains("\"epochs = 3\" instead of \"epochs = 2\""), "{error}");
    }
}

#[test]
fn a_process_that_ends_tells_the_others_why() {
    let errors = together(3, |group| {
        if group.rank() == 1 {
            group.tell_end("its disk is full");
            return None;
        }
        Some(group.any(false).unwrap_err())
    });
    assert_eq!(errors.iter().flatten().count(), 2);
    for error in errors.iter().flatten() {
        let said = error.to_string();
        assert!(matches!(error, Error::Ended { .. }), "{said}");
        assert!(said.contains("RANK=1 (of 3") && said.contains("its disk is full"), "{said}");
    }
}

#[test]
fn a_process_that_goes_without_a_word_is_named() {
    for lost in [0, 1] {
        let begin = Instant::now();
        let errors =
            together(2, |group| (group.rank() != lost).then(|| group.any(false).unwrap_err()));
        let said = errors.iter().flatten().next().unwrap().to_string();
        assert!(said.contains(&format!("RANK={lost} (of 2, host ")), "{said}");
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }
}

#[test]
fn processes_that_do_not_fit_together_are_refused_with_the_reason() {
    let soon = Patience { joining: Duration::from_millis(600), ..PATIENCE };
    let alone = |place: &Place| Group::join(place, soon).unwrap_err().to_string();
    let said = alone(&place(1, 2, free_port()));
    assert!(said.contains("nobody answers at 127.0.0.1:"), "{said}");
    let said = alone(&place(0, 3, free_port()));
    assert!(
        said.contains("2 of 3 processes have not come") && said.contains("RANK 1, 2"),
        "{said}"
    );
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let said = alone(&place(0, 2, taken.local_addr().unwrap().port()));
    assert!(said.contains("cannot listen at 127.0.0.1:"), "{said}");
    let nowhere = Place { master_addr: "no.such.host.invalid".to_owned(), ..place(0, 2, 1) };
    assert!(alone(&nowhere).contains("cannot reach no.such.host.invalid:1"));

    let port = free_port();
    let errors = thread::scope(|scope| {
        let join = |place: Place| scope.spawn(move || Group::join(&place, PATIENCE).unwrap_err());
        let all = [join(place(0, 2, port)), join(place(1, 3, port))];
        all.map(|one| one.join().unwrap().to_string())
    });
    for said in errors {
        assert!(said.contains("another WORLD_SIZE than process 0: 3 instead of 2"), "{said}");
    }
}

#[test]
fn processes_on_their_cpus_say_that_gloo_moves_everything() {
    for (engine, sum) in together(2, |mut group| {
        group.compute_on(Device::Cpu).unwrap();
        let sum = group.sums(&[Tensor::from(1.5)]).unwrap().remove(0).double_value(&[]);
        let engine = group.engine().to_string();
        group.close().unwrap();
        (engine, sum)
    }) {
        assert_eq!((engine.as_str(), sum), ("Gloo: no process computes on a GPU", 3.0));
    }
}

/// Whether the tests of GPUs can run; says so where not.
fn there_is_a_gpu() -> bool {
    let is_there = Cuda::is_available();
    if !is_there {
        println!("not run: there is no GPU here, or libtorch's CUDA half is not in this program");
    }
    is_there
}

/// Sums and rows of every kind on `gpu` are what they are on the CPU, and lie on `gpu`.
fn moves_what_lies_on(group: &Group, gpu: Device) {
    let (size, rank) = (group.size() as i64, group.rank() as i64);
    for kind in [Kind::Float, Kind::Double, Kind::Int64] {
        let own = Tensor::arange(100, (kind, gpu)) + rank;
        // Of a transposed tensor too, which does not lie in one piece.
        let turned = own.view([4, 25]).transpose(0, 1);
        let sums = group.sums(&[own, turned]).unwrap();
        let whole = Tensor::arange(100, (kind, Device::Cpu)) * size + size * (size - 1) / 2;
        assert!(sums.iter().all(|sum| sum.device() == gpu));
        assert!(sums[0].to_device(Device::Cpu) == whole);
        assert!(sums[1].to_device(Device::Cpu) == whole.view([4, 25]).transpose(0, 1));
    }
    let kinds = [Kind::Float, Kind::Double, Kind::Int64, Kind::Half, Kind::BFloat16, Kind::Uint8];
    for kind in kinds {
        // Process r has r + 1 rows of r + 1.
        let own = Tensor::full([rank + 1, 3], rank + 1, (kind, gpu));
        let (rows, counts) = group.gather_rows(&own).unwrap();
        assert_eq!((rows.device(), rows.kind()), (gpu, kind));
        assert_eq!(counts, (1..=group.size()).collect::<Vec<_>>());
        let expected: Vec<i64> = (1..=size).flat_map(|r| vec![r; r as usize]).collect();
        let expected = Tensor::from_slice(&expected).to_kind(kind).unsqueeze(1);
        assert!(rows.to_device(Device::Cpu) == expected.expand([-1, 3], false));
    }
    // The memory of what is dropped at once is used anew.
    for round in 0..100_i64 {
        let own = || Tensor::full([1 << 16], round, (Kind::Float, gpu));
        let sum = group.sums(&[own()]).unwrap().remove(0);
        drop(own());
        assert_eq!(sum.mean(Kind::Double).double_value(&[]), (round * size) as f64);
    }
}

/// What moves tensors between `size` processes on the first GPU, once it has moved some; what lies on the
/// CPU goes by Gloo in any case.
fn engines_on_one_gpu(size: usize) -> Vec<Engine> {
    let gpu = Device::Cuda(0);
    together(size, |mut group| {
        group.compute_on(gpu).unwrap();
        moves_what_lies_on(&group, gpu);
        let sum = group.sums(&[Tensor::from(2.5)]).unwrap().remove(0);
        assert_eq!(sum.double_value(&[]), 2.5 * size as f64);
        assert_eq!(group.gather_bytes(b"words").unwrap(), vec![b"words"; size]);
        let engine = group.engine().clone();
        group.close().unwrap();
        engine
    })
}

#[test]
fn a_group_of_one_on_a_gpu_computes_by_nccl() {
    if !there_is_a_gpu() {
        return;
    }
    match &engines_on_one_gpu(1)[0] {
        Engine::Nccl => {}
        Engine::Gloo { reason } if reason.contains("was built without NCCL") => {
            println!("NCCL was not run: {reason}");
        }
        engine @ Engine::Gloo { .. } => panic!("{engine}"),
    }
}

#[test]
fn processes_that_share_a_gpu_compute_by_gloo() {
    if !there_is_a_gpu() {
        return;
    }
    let said: Vec<String> = engines_on_one_gpu(2).iter().map(ToString::to_string).collect();
    let why = |said: &String| said.contains("share a GPU") || said.contains("without NCCL");
    assert!(said.iter().all(|said| said.starts_with("Gloo: ") && why(said)), "{said:?}");
}

#[test]
fn a_gpu_that_is_not_there_is_refused() {
    if !there_is_a_gpu() {
        return;
    }
    let nowhere = Device::Cuda(usize::try_from(Cuda::device_count()).unwrap());
    together(1, |mut group| match group.compute_on(nowhere) {
        Err(error) => assert!(error.to_string().contains("there is no cuda:"), "{error}"),
        Ok(()) => assert!(group.engine().to_string().contains("was built without NCCL")),
    });
}

#[test]
fn a_group_that_is_dropped_with_a_gpu_lets_go_of_it() {
    if !there_is_a_gpu() {
        return;
    }
    let begin = Instant::now();
    together(1, |mut group| {
        group.compute_on(Device::Cuda(0)).unwrap();
        let sum = group.sums(&[Tensor::ones([1 << 20], (Kind::Float, Device::Cuda(0)))]);
        assert_eq!(sum.unwrap()[0].double_value(&[7]), 1.0);
    });
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}
