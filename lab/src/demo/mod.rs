//! Sales to look at: the demo and those who buy in it.
//!
//! - [`two_sales`]: what `flux-lab demo` shows; [`fair_sale`]: a third sale, to take part in;
//! - [`visitors`]: who stands in a fair line, as the pages do it; [`fair_crowd`]: thousands of them;
//! - [`telling`]: what is said to a person, and what was found.

pub mod fair_crowd;
pub mod fair_sale;
pub mod telling;
pub mod two_sales;
pub mod visitors;

pub use telling::{Findings, say, show_progress};
pub use two_sales::{addresses, run, servers, start};
