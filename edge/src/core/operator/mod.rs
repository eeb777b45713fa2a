//! What an operator does to a sale: `POST /init` and `POST /close`.

pub(crate) mod bodies;
mod events;
pub(crate) mod sale_admin;
