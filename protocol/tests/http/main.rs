//! What `flux_protocol::http` makes of bytes, seen from outside.

mod feed;

mod chunks;
mod hostile;
mod order_bodies;
mod responses;
mod rules;
mod smuggling;
mod splitting;
