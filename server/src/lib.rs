//! The server of Clipsight: embeds pictures and words, keeps them, and finds them by meaning.

pub mod catalog;
pub mod index;
