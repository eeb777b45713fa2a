//! placeholder

pub mod scripts;
