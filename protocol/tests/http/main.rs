//! What `flux_protocol::http` makes of bytes, seen from outside.

mod feed;
mod json_shapes;

mod chunks;
mod connections;
mod hostile;
mod media;
mod order_bodies;
mod responses;
mod rules;
mod sizes;
mod smuggling;
mod splitting;
