//! What the shell alone costs: every request is answered at once with the same small answer. Measured with wrk, this
//! is the floor under everything the edge does.
//!
//!     cargo run --release -p flux-edge --example floor -- 3000 uring 1
//!
//! Port, driver, number of cores.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use flux_edge::answer::{Answer, Framing, ReplyTo, Site};
use flux_edge::core::machine::{Machine, PeerFault};
use flux_edge::core::request::{Outcome, Role};
use flux_edge::monitoring::workers::Workers;
use flux_edge::process::{descriptors, signals};
use flux_edge::shell::front::Front;
use flux_edge::shell::plan::Plan;
use flux_edge::shell::server::start;
use flux_net::affinity;
use flux_net::tls::Certificates;
use flux_protocol::http::Request;
use flux_protocol::kafka::client::{BrokerAction, BrokerKey};
use flux_protocol::time::{Instant, Now};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Constant {
    site: Site,
}

impl Machine for Constant {
    fn handle_request(&mut self, _: Now, _: Role, _: &Request<'_>, _: ReplyTo) -> Outcome {
        Outcome::Now(Answer::SoldOut)
    }
    fn framing(&self, request: &Request<'_>) -> Framing {
        Framing { connection: request.connection(), head_only: request.head_only(), cors: false }
    }
    fn site(&self) -> &Site {
        &self.site
    }
    fn poll_completion(&mut self) -> Option<(ReplyTo, Answer)> {
        None
    }
    fn handle_redis_open(&mut self, _: Now) {}
    fn handle_redis_bytes(&mut self, _: Now, _: &mut BytesMut) -> Result<(), PeerFault> {
        Ok(())
    }
    fn handle_redis_closed(&mut self, _: Now) {}
    fn poll_redis_write(&mut self, _: Now, _: &mut Vec<u8>) {}
    fn poll_redis_failure(&mut self) -> Option<PeerFault> {
        None
    }
    fn redis_down_for(&self, _: Now) -> Duration {
        Duration::ZERO
    }
    fn poll_broker_action(&mut self) -> Option<BrokerAction> {
        None
    }
    fn handle_broker_open(&mut self, _: Now, _: BrokerKey) {}
    fn handle_broker_bytes(&mut self, _: Now, _: BrokerKey, _: &mut BytesMut) -> Result<(), PeerFault> {
        Ok(())
    }
    fn handle_broker_closed(&mut self, _: Now, _: BrokerKey) {}
    fn poll_broker_write(&mut self, _: BrokerKey, _: &mut Vec<u8>) {}
    fn kafka_down_for(&self, _: Now) -> Duration {
        Duration::ZERO
    }
    fn next_deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }
    fn handle_time(&mut self, _: Now) {}
    fn handle_drain(&mut self, _: Now, _: Instant) {}
    fn is_drained(&self) -> bool {
        true
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let driver = arguments.next().map_or(Ok(Default::default()), |driver| driver.parse()).expect("a driver");
    let cores: usize = arguments.next().and_then(|cores| cores.parse().ok()).unwrap_or(1);
    let limit = descriptors::raise_limit().expect("a limit");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let plan = Plan {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        admin: any,
        waiting_room: None,
        certificates: Certificates::default(),
        driver,
        cores: affinity::allowed().expect("processors").into_iter().take(cores).collect(),
        connections_per_core_max: descriptors::connections_per_core(limit, cores, 0),
        // Nobody is there; the link rests for a second between two attempts.
        redis: "redis+unix:///nonexistent".parse().expect("a path"),
        kafka_tls: None,
        front: Front::default(),
        keep_alive: Duration::from_secs(75),
        drain_delay: Duration::ZERO,
        drain_deadline: Duration::from_secs(1),
        workers: Workers::default(),
    };
    let keep_alive = plan.keep_alive;
    let running = start(plan, move |_, _, _, _| Constant {
        site: Site::new("http://localhost/", "http://localhost", keep_alive),
    });
    let running = running.expect("it starts");
    signals::watch(running.drain(), || ()).expect("signals");
    println!("{} on {} with {}", running.listen, cores, running.driver);
    running.wait();
}
