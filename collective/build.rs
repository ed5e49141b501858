//! Compiles the shim over libtorch's c10d, against the headers of the libtorch that `LIBTORCH` names.
//!
//! The wheel of `PyTorch` has c10d's headers and Gloo's code, but not Gloo's headers. What c10d's name of
//! Gloo stands in `shim/gloo`, so that no other copy of Gloo, of another age, is mixed in.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = env::var("LIBTORCH").unwrap_or_default();
    let include = Path::new(&libtorch).join("include");
    if !include.join("torch/csrc/distributed/c10d/ProcessGroupGloo.hpp").is_file() {
        println!("cargo:warning=no headers of c10d in {}; run `make libtorch`", include.display());
    }
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include("shim")
        // Warnings of headers that are not ours are not ours either.
        .flag(format!("-isystem{}", include.display()))
        .flag(format!("-isystem{}", include.join("torch/csrc/api/include").display()))
        .define("USE_C10D_GLOO", None)
        .file("shim/collective.cpp")
        .compile("collective_shim");
    // The tests of this crate find libtorch as the trainer's binaries do (trainer/build.rs).
    if let Ok(library) = Path::new(&libtorch).join("lib").canonicalize() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", library.display());
    }
}
