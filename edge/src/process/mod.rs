//! The program around the edge: configuration read, logs, signals, descriptors, exit codes.

pub mod check;
pub mod descriptors;
pub mod run;
pub mod signals;
