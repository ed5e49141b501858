//! Tells the linker where the trainer's binaries find libtorch when they run.
//!
//! torch-sys links against libtorch but leaves no search path behind. Three are written: two
//! relative to the binary, for `target/PROFILE/` and `target/PROFILE/deps/` inside the checkout, so
//! that a checkout can be moved; and the folder that `LIBTORCH` named at build time, for a target
//! folder that lies elsewhere. libtorch itself finds the CUDA libraries that lie beside it.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    for up in ["../..", "../../.."] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/{up}/.runtime/libtorch/torch/lib");
    }
    let Some(libtorch) = env::var_os("LIBTORCH") else { return };
    let library = Path::new(&libtorch).join("lib");
    match library.canonicalize() {
        Ok(path) => println!("cargo:rustc-link-arg=-Wl,-rpath,{}", path.display()),
        Err(_) => {
            println!("cargo:warning=no libtorch at {}; run `make libtorch`", library.display())
        }
    }
}
