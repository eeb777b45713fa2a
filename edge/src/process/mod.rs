//! The program around the edge: configuration read, logs, signals, descriptors, exit codes.

pub mod check;
mod complaint;
pub mod descriptors;
pub mod run;
pub mod signals;
