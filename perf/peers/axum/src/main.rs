//! Does the work of Flux-Gate's edge with axum, fred and rdkafka, to be measured beside it.
//!
//! It is what a careful axum service would ship for this: commands are pipelined by the client, records gather for a
//! millisecond, an order outlives the connection it came by. It never relays what an earlier process left in the
//! outbox.

mod answer;
mod order;
mod sale;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;

use crate::answer::{WAITING_ROOM, redirect, stock};
use crate::order::Shop;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY_BYTES_MAX: usize = 4 << 10;

/// The order path of Flux-Gate's edge as axum, fred and rdkafka do it.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: String,
    /// redis://host:port, redis+unix:///path, or host:port.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    redis: String,
    /// Bootstrap brokers, comma between.
    #[arg(long, default_value = "127.0.0.1:9092")]
    kafka: String,
    /// Topic of the orders; must exist.
    #[arg(long, default_value = "orders")]
    topic: String,
    /// Threads of the runtime; those of librdkafka come on top.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// The whole path, or the same small answers without Redis and Kafka.
    #[arg(long, value_enum, default_value = "orders")]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Orders,
    Constant,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(usize::from(arguments.threads)).enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let routes = match arguments.mode {
        Mode::Constant => Router::new()
            .route("/stock/{product}", get(async || stock("bench", 1_000_000_000)))
            .route("/order", post(constant_redirect)),
        Mode::Orders => {
            let shop = Shop::open(&arguments.redis, &arguments.kafka, &arguments.topic).await?;
            Router::new()
                .route("/order", post(order::post))
                .route("/stock/{product}", get(sale::get_stock))
                .route("/init", post(sale::post_init))
                .with_state(shop)
        }
    };
    let routes = routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let listener = TcpListener::bind(&arguments.listen).await?;
    // A socket that does not take the option is one that its client has closed already.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, routes).await?;
    Ok(())
}

async fn constant_redirect() -> Response {
    redirect(format!("{WAITING_ROOM}trickle"))
}
