//! A bare monoio server with a constant answer: what thread per core, io_uring and a parsed request cost, and nothing
//! else. The floor under the edge, which stands on the same runtime with the same ring flags.
//!
//! It bounds nothing, has no deadlines and speaks to no other server; it is fit to be measured, never to be exposed.

mod answer;
mod request;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, ValueEnum};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use socket2::{Domain, Protocol, Socket, Type};

use crate::answer::Answers;
use crate::request::{Request, next_request};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As `net/src/limits.rs` has them.
const RING_SUBMISSION_ENTRIES: u32 = 4096;
const RING_COMPLETION_ENTRIES: u32 = 32 * 1024;
const BACKLOG_CONNECTIONS: i32 = 4096;
/// One read; a longer request ends its connection.
const READ_BYTES: usize = 4 << 10;

/// A bare monoio server with a constant answer.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Threads, each with a ring and a listening socket of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// The one thing that it can do.
    #[arg(long, value_enum, default_value = "constant")]
    mode: Mode,
    /// Taken, so that all peers are called alike; never connected to.
    #[arg(long)]
    redis: Option<String>,
    /// As `--redis`.
    #[arg(long)]
    kafka: Option<String>,
    /// As `--redis`.
    #[arg(long)]
    topic: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Constant,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Mode::Constant = arguments.mode;
    let threads: Vec<_> = (0..arguments.threads).map(|_| thread::spawn(move || run(arguments.listen))).collect();
    for thread in threads {
        // A thread only ends where it failed, and a panic aborts the process.
        if let Ok(Err(error)) = thread.join() {
            eprintln!("peer-monoio: {error}");
        }
    }
    ExitCode::FAILURE
}

fn run(address: SocketAddr) -> io::Result<()> {
    let listener = bind(address)?;
    let mut ring = io_uring::IoUring::builder();
    ring.setup_cqsize(RING_COMPLETION_ENTRIES).setup_coop_taskrun();
    let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_SUBMISSION_ENTRIES).uring_builder(ring);
    builder.build()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(serve(stream));
        }
    })
}

/// A listening socket that shares its port with those of the other threads.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?; // accepted connections inherit it
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_CONNECTIONS)?;
    Ok(socket.into())
}

/// Answers one connection's requests until it ends, or sends what is no request. All whole requests of one read are
/// answered with one write.
async fn serve(mut stream: TcpStream) {
    let mut answers = Answers::new();
    let mut held = Vec::with_capacity(READ_BYTES);
    let mut output = Vec::with_capacity(READ_BYTES);
    loop {
        // What is held of an unfinished request stays in front, and the read goes behind it.
        let at = held.len();
        if at == READ_BYTES {
            return;
        }
        let (read, slice) = stream.read(monoio::buf::SliceMut::new(held, at, READ_BYTES)).await;
        held = slice.into_inner();
        if !matches!(read, Ok(1..)) {
            return;
        }
        let mut done = 0;
        loop {
            match next_request(&held[done..]) {
                Request::Whole { length, is_post } => {
                    done += length;
                    answers.write(is_post, &mut output);
                }
                Request::Unfinished => break,
                Request::Malformed => return,
            }
        }
        held.drain(..done);
        if !output.is_empty() {
            let (written, buffer) = stream.write_all(output).await;
            if written.is_err() {
                return;
            }
            output = buffer;
            output.clear();
        }
    }
}
