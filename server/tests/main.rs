//! The server as its users meet it: one binary, a folder or file for each flow.

mod collection;
