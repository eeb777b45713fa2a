//! A core alone, asked for what it answers from memory.

use std::rc::Rc;
use std::sync::Arc;

use flux_edge::answer::ReplyTo;
use flux_edge::config::{Config, SecretVariables};
use flux_edge::core::Core;
use flux_edge::core::machine::Machine;
use flux_edge::core::request::{Outcome, Role};
use flux_edge::counters::Counters;
use flux_protocol::http::{Date, Limits, Read, Reader};
use flux_protocol::time::{Instant, Now};

/// The port that its public listener is said to have.
const PUBLIC_PORT: u16 = 3210;

/// The answer, as it is written, of an edge with these flags.
pub(crate) fn ask(flags: &[&str], role: Role, request: &str) -> Vec<u8> {
    let config = Config::read([&["flux-edge"], flags].concat(), SecretVariables::default(), &[0]).expect("flags");
    let now = Now { instant: Instant::default(), wall_ms: 0 };
    let mut core = Core::new(Rc::new(config.for_core(PUBLIC_PORT)), Arc::new(Counters::default()), 0, [0; 32], now);
    let mut bytes = request.as_bytes().to_vec();
    let Read::Request(request, _) = Reader::new(Limits::DEFAULT).read(&mut bytes) else { panic!("a whole request") };
    let reply_to = ReplyTo { conn: 0, generation: 0, position: 0 };
    let Outcome::Now(answer) = core.handle_request(now, role, &request, reply_to) else { panic!("nobody to ask") };
    let mut out = Vec::new();
    answer.write(core.site(), &Date::new(0), core.framing(&request), &mut out);
    out
}
