//! What an operator does to a sale: `POST /init` and `POST /close`.

pub(crate) mod bodies;
pub mod sale_admin;
