//! Settings that libtorch's own libraries read once, when they are loaded: before `main`.

/// Names, values and why.
///
/// libgomp's threads spin at each barrier, which on a machine that does anything else turns most of
/// the time into waiting: features of EfficientNet-Lite2 on two busy cores rose from 9 to 34
/// pictures/s with waiting threads that sleep. glibc hands large blocks back to the system after
/// each operation and gets them again, zeroed, for the next one, unless told to keep them. c10d warns
/// of each lost connection with a page of frames, where our own errors say who is lost.
const SETTINGS: [(&str, &str); 5] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    ("GOMP_SPINCOUNT", "0"),
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
    ("TORCH_CPP_LOG_LEVEL", "ERROR"),
];

/// Starts this program over with the settings that the environment lacks; the first thing that a
/// program which trains does.
pub fn settle() {
    runtime::environment::settle(&SETTINGS);
}
