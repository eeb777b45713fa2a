//! Small changes to the code that decides, one at a time, and who notices: `make mutants`.
//!
//! Lua and SQL are changed where they stand in copies of the test programs, Rust in a copy of the tree; the tree itself is only read. Starts nothing but cargo and those programs, and ends with them whatever they have started.

pub mod error;
pub mod judge;
pub mod lock;
pub mod lua;
pub mod mutant;
pub mod programs;
pub mod record;
pub mod run;
pub mod rust;
pub mod sql;
pub mod text;
pub mod tree;
