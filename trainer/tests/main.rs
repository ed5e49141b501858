//! The trainer from outside, a module for each flow.

mod commands;
mod exporting;
mod operations;
mod tiny;
mod towers;
mod training;
