//! The server as its users meet it: one binary, a folder or file for each flow.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod collection;
mod commands;
mod hub;
mod indexing;
mod serving;
