//! Redis as one core speaks to it: the connection, the scripts, what they answer. Never decides what an answer means for an
//! order.

pub mod connection;
pub mod keys;
pub mod lease_reply;
pub(crate) mod refusals;
pub mod replies;
pub mod rights;
pub mod scripts;
pub mod work;
