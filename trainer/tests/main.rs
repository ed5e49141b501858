//! The trainer from outside, a module for each flow.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod augment;
mod blending;
mod clip;
mod commands;
mod doctor;
mod dual_encoder;
mod evaluation;
mod exporting;
mod layouts;
mod lora;
mod methods;
mod micro_batches;
mod objectives;
mod operations;
mod optimizers;
mod processes;
mod temperature;
mod tiny;
mod towers;
mod training;
mod tuning;
