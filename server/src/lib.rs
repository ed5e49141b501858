//! The server of Clipsight: embeds pictures and words, keeps them, and finds them by meaning.
