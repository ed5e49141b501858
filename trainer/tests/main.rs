//! The trainer from outside, a module for each flow.

mod operations;
mod towers;
