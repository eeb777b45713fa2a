//! What an operator sees: `/metrics`, `/livez`, `/readyz`, the dashboard and its figures, the workers beside this edge.

pub(crate) mod admin;
pub(crate) mod dashboard;
pub mod history;
pub(crate) mod labels;
pub mod metrics;
pub(crate) mod product_metrics;
pub mod workers;
