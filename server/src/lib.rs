//! The server of Clipsight: embeds pictures and words, keeps them, and finds them by meaning.

pub mod catalog;
pub mod cli;
pub mod embed;
pub mod http;
pub mod hub;
pub mod index;
pub mod ingest;
pub mod search;
pub mod settings;
