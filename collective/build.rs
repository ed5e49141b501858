//! Compiles the shim over libtorch's c10d, against the headers of the libtorch that `LIBTORCH` names.
//!
//! The wheel of `PyTorch` has c10d's headers and Gloo's code, but not Gloo's headers. What c10d's name of
//! Gloo stands in `shim/gloo`, so that no other copy of Gloo, of another age, is mixed in.
//!
//! NCCL comes in (`cfg(nccl)`) where libtorch has its CUDA half and the headers of CUDA and NCCL are found:
//! those that lie beside it as pip lays wheels out, or a CUDA that is installed. The program is then
//! linked against that half; any other build needs nothing of CUDA.

use std::env;
use std::path::{Path, PathBuf};

/// What c10d's header of NCCL includes, directly or not, of each package that brings some of it.
const CUDA_HEADERS: [&str; 7] = [
    "nccl.h",
    "cuda_runtime_api.h",
    "crt/host_defines.h",
    "nv/target",
    "cublas_v2.h",
    "cusparse.h",
    "cusolverDn.h",
];

/// Where compilers look by themselves.
const SYSTEM: &str = "/usr/include";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    println!("cargo:rustc-check-cfg=cfg(nccl)");
    let libtorch = env::var("LIBTORCH").unwrap_or_default();
    let libtorch = Path::new(&libtorch);
    let include = libtorch.join("include");
    if !include.join("torch/csrc/distributed/c10d/ProcessGroupGloo.hpp").is_file() {
        println!("cargo:warning=no headers of c10d in {}; run `make libtorch`", include.display());
    }
    let mut shim = cc::Build::new();
    // Warnings of headers that are not ours are not ours either.
    let mut search = |folder: &Path| {
        shim.flag(format!("-isystem{}", folder.display()));
    };
    search(&include);
    search(&include.join("torch/csrc/api/include"));
    let cuda = cuda_includes(libtorch);
    cuda.iter().flatten().for_each(|folder| search(folder));
    shim.cpp(true).std("c++20").include("shim").define("USE_C10D_GLOO", None);
    shim.file("shim/collective.cpp").file("shim/nccl.cpp");
    if cuda.is_some() {
        shim.define("USE_C10D_NCCL", None);
        println!("cargo:rustc-cfg=nccl");
    }
    shim.compile("collective_shim");
    if cuda.is_some() {
        // Behind the shim, which names what is in them.
        println!("cargo:rustc-link-search=native={}", libtorch.join("lib").display());
        println!("cargo:rustc-link-lib=torch_cuda");
        println!("cargo:rustc-link-lib=c10_cuda");
    }
    // The tests of this crate find libtorch as the trainer's binaries do (trainer/build.rs).
    if let Ok(library) = libtorch.join("lib").canonicalize() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library.display());
    }
}

/// The folders with the headers of CUDA and NCCL, where this build can have NCCL.
fn cuda_includes(libtorch: &Path) -> Option<Vec<PathBuf>> {
    if !libtorch.join("lib/libtorch_cuda.so").is_file() {
        return None;
    }
    let mut folders = Vec::new();
    if let Ok(wheels) = libtorch.join("../nvidia").read_dir() {
        folders.extend(wheels.flatten().map(|wheel| wheel.path().join("include")));
        folders.sort();
    }
    let home = env::var_os("CUDA_HOME").map(PathBuf::from);
    let homes = home.into_iter().chain([PathBuf::from("/usr/local/cuda")]);
    folders.extend(homes.map(|home| home.join("include")));
    folders.push(PathBuf::from(SYSTEM));
    let missing = |header: &&&str| !folders.iter().any(|folder| folder.join(header).is_file());
    let missing: Vec<&str> = CUDA_HEADERS.iter().filter(missing).copied().collect();
    if missing.contains(&CUDA_HEADERS[0]) {
        return None;
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        println!(
            "cargo:warning=NCCL is left out: no {missing}; name the CUDA that has them in CUDA_HOME"
        );
        return None;
    }
    // The compiler's own folder would change its order if it were named.
    folders.retain(|folder| folder.is_dir() && folder != Path::new(SYSTEM));
    Some(folders)
}
