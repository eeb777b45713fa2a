//! The thin I/O layer of edge and worker: it chooses monoio's driver, opens sockets, waits for time and for other
//! threads, and keeps monoio's types in few places so that the runtime could be replaced.
//!
//! This crate never decides anything about an order, never parses a protocol, never blocks a runtime's thread (names
//! are resolved on a thread of their own), and never wakes a task of another thread: monoio's tasks belong to one
//! thread for life, and what other threads have to say comes through a [`doorbell`].
//!
//! With the feature `simulated`, the module of that name takes the place of the operating system: sockets, clocks,
//! timers, tasks and chance are then a simulation's.

#![warn(missing_docs)]

use std::future::poll_fn;
use std::task::Poll;

pub mod address;
pub mod affinity;
pub mod brokers;
pub mod buffer;
#[cfg(not(feature = "simulated"))]
pub mod clock;
#[cfg(not(feature = "simulated"))]
mod descriptor;
#[cfg(not(feature = "simulated"))]
pub mod doorbell;
pub mod failures;
pub mod flags;
pub mod limits;
#[cfg(not(feature = "simulated"))]
pub mod listener;
pub mod logging;
pub mod notify;
#[cfg(not(feature = "simulated"))]
pub mod random;
pub mod redis_target;
pub mod reload;
#[cfg(not(feature = "simulated"))]
mod resolve;
pub mod runtime;
pub mod secrets;
#[cfg(feature = "simulated")]
pub mod simulated;
#[cfg(not(feature = "simulated"))]
mod socket;
pub mod socket_writer;
#[cfg(not(feature = "simulated"))]
pub mod stream;
#[cfg(not(feature = "simulated"))]
pub mod timer;
#[cfg_attr(feature = "simulated", allow(dead_code, reason = "no simulation has a handshake"))]
pub mod tls;
pub mod wait;

#[cfg(feature = "simulated")]
pub use simulated::{clock, doorbell, listener, random, spawn, stream, timer};

pub use address::Address;
pub use brokers::{BrokerEnd, BrokerOptions, BrokerOwner, Brokers};
pub use buffer::{Tail, Window};
pub use clock::Clock;
pub use doorbell::{Doorbell, DoorbellListener};
pub use listener::{Bound, ListenOptions, Listener};
pub use monoio::buf::{IoBuf, IoBufMut};
pub use notify::Notify;
pub use redis_target::RedisTarget;
pub use runtime::{Driver, DriverChoice, Runtime, RuntimeOptions};
pub use socket_writer::SocketWriter;
pub use stream::{ReadHalf, Stream, WriteHalf};
pub use timer::Timer;
pub use tls::{ClientTls, ServerTls};
pub use wait::{sleep, within};

/// Starts a task on this thread's runtime. It never moves to another thread; what it returns is dropped.
#[cfg(not(feature = "simulated"))]
pub fn spawn<F: Future<Output = ()> + 'static>(task: F) {
    drop(monoio::spawn(task));
}

/// Lets every other task that is ready have its turn, and the driver look for events, before this one goes on.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
