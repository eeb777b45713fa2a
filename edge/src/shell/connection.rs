//! One client's connection: read, answer every whole request that has come, write, read on.
//!
//! A *burst* is all requests that one read brought. Their answers leave in one write and in order; while one of them
//! is still being decided the connection reads nothing more, so a client can have no more under way than a burst. A
//! client that hangs up is noticed when it is written to: what was reserved for it stands.

use std::io::ErrorKind;
use std::net::{IpAddr, Shutdown};

use flux_net::{Stream, Window};
use flux_protocol::http::response::{CONTINUE, NO_STORE};
use flux_protocol::http::{Limits, Persistence, Read, Reader, Refusal, Request, Stage};
use flux_protocol::time::Instant;

use crate::answer::{Answer, Framing, Site};
use crate::core::machine::Machine;
use crate::core::request::{Outcome, Role};
use crate::counters::shell::{Ended, ShellCounters};
use crate::limits::shell::{BURST_ANSWER_BYTES_MAX, BURST_REQUESTS_MAX, LINGER_BYTES_MAX, READ_BUFFER_BYTES_MAX};
use crate::monitoring::admin::{self, EdgeView};
use crate::shell::buffers::Inbound;
use crate::shell::burst::PendingResponse;
use crate::shell::connection_guard::ConnectionGuard;
use crate::shell::connection_table::Phase;
use crate::shell::shard::Shard;
use crate::throttle::TooOften;

/// How a burst ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With an incomplete request, or none: more must be read.
    Starved,
    /// With its bound: more is there already.
    Full,
    /// The connection closes after the answers.
    Close,
    /// So does it, and the client may still be sending.
    Refused,
}

/// What a burst came to.
struct Burst {
    requests: usize,
    /// Some of its answers come later.
    waits: bool,
    /// Its responses in the table: those from the first that comes later on.
    pending: usize,
    /// Bytes of the documents in those.
    document_bytes: usize,
    end: End,
}

/// What a client hears that speaks HTTP in the clear where TLS is spoken.
fn plain_http_answer<M: Machine>(shard: &Shard<M>) -> Vec<u8> {
    let mut out = Vec::new();
    let refusal = Refusal::closing(400, "This port speaks HTTPS");
    refusal.write(&mut out, &shard.date.borrow());
    out
}

/// Serves one client, who connects from `peer`, until one side ends.
pub(crate) async fn serve<M: Machine>(mut stream: Stream, peer: IpAddr, guard: ConnectionGuard<M>, role: Role) {
    let Some(client) = client_of(&guard, &mut stream, peer, role).await else { return };
    if let Some(tls) = &guard.shard.certificates.listener
        && role != Role::Admin
    {
        // What a balancer says of its client comes as it is, before the first byte of the handshake.
        if guard.shard.front.limit_unread(client, guard.shard.clock.instant()).is_err() {
            // Nothing can be said before the handshake, which is the work that is refused.
            guard.shard.counters.shell.requests_limited.add(1);
            return;
        }
        guard.set_phase(Phase::Handshake, true);
        // One that fails has been counted, and the client told.
        let Ok(encrypted) = stream.serve_tls(tls, &plain_http_answer(&guard.shard)).await else { return };
        stream = encrypted;
        guard.set_phase(Phase::Idle, true);
    }
    serve_client(stream, client, guard, role).await;
}

/// Whose connection it is; `None` where a header had to say so, and did not in time, or could not be believed.
async fn client_of<M: Machine>(
    guard: &ConnectionGuard<M>,
    stream: &mut Stream,
    peer: IpAddr,
    role: Role,
) -> Option<IpAddr> {
    let shard = &*guard.shard;
    if role != Role::Public || !shard.front.proxy_protocol {
        return Some(peer);
    }
    // It comes at once, or never: a proxy has it before it has a client's first byte.
    guard.set_phase(Phase::Head, true);
    let client = shard.front.read_proxy_header(stream, peer).await;
    if client.is_none() {
        shard.counters.shell.ended[Ended::Refused as usize].add(1);
    }
    guard.set_phase(Phase::Idle, true);
    client
}

/// Serves one client, who is known by now.
async fn serve_client<M: Machine>(mut stream: Stream, peer: IpAddr, guard: ConnectionGuard<M>, role: Role) {
    let shard = &*guard.shard;
    let mut reader = Reader::new(Limits::DEFAULT);
    let mut inbound = shard.buffers.borrow_mut().take_read();
    let (mut end, mut is_counted) = (End::Starved, false);
    loop {
        if end == End::Starved {
            let (read, filled) = stream.read(std::mem::take(&mut inbound.window)).await;
            inbound.window = filled;
            match read {
                Ok(bytes) if bytes > 0 => {
                    inbound.note_read(bytes);
                    shard.counters.shell.bytes_read.add(bytes as u64);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => {
                    let late = reader.refuse_unfinished(inbound.window.unread(), Refusal::TIMEOUT);
                    say_timeout(&guard, &stream, role, &late);
                    break;
                }
            }
        }
        let mut out = shard.buffers.borrow_mut().take_write();
        let burst = take_burst(&guard, peer, role, &mut is_counted, &mut reader, &mut inbound.window, &mut out);
        if burst.waits {
            guard.set_phase(Phase::Answers, true);
            guard.answered().await;
            write_responses(&guard, &mut out);
        }
        end = burst.end;
        if end == End::Starved && reader.expects_continue() {
            out.extend_from_slice(CONTINUE);
            reader.continue_sent();
        }
        if out.is_empty() {
            shard.buffers.borrow_mut().give_write(out);
        } else {
            guard.set_phase(Phase::Writing, true);
            let (written, out) = stream.write_all(out).await;
            shard.counters.shell.bytes_written.add(out.len() as u64);
            shard.buffers.borrow_mut().give_write(out);
            if written.is_err() {
                break;
            }
        }
        match end {
            End::Full => {}
            End::Starved => {
                shard.buffers.borrow_mut().fit_read(&mut inbound);
                guard.set_phase(phase_of(reader.stage()), burst.requests > 0);
            }
            End::Close if inbound.window.is_empty() && !shard.leaving.get() => break,
            End::Close | End::Refused => {
                linger(&guard, &mut stream, inbound).await;
                return;
            }
        }
    }
    shard.buffers.borrow_mut().give_read(inbound);
}

fn phase_of(stage: Stage) -> Phase {
    match stage {
        Stage::Idle => Phase::Idle,
        Stage::Head => Phase::Head,
        Stage::Body => Phase::Body,
    }
}

/// Hands every whole request to the machine. Answers that are there at once go straight into `out`, as long as none
/// before them is awaited. `is_counted`: the message that has begun was counted to its address.
fn take_burst<M: Machine>(
    guard: &ConnectionGuard<M>,
    peer: IpAddr,
    role: Role,
    is_counted: &mut bool,
    reader: &mut Reader,
    window: &mut Window,
    out: &mut Vec<u8>,
) -> Burst {
    let shard = &*guard.shard;
    let counters = &shard.counters.shell;
    let now = shard.clock.now();
    let mut machine = shard.machine.borrow_mut();
    let closing = shard.leaving.get() && role != Role::Admin;
    let mut burst = Burst { requests: 0, waits: false, pending: 0, document_bytes: 0, end: End::Starved };
    while burst.end == End::Starved {
        match reader.read(window.unread()) {
            Read::Incomplete => {
                if !window.make_room(READ_BUFFER_BYTES_MAX) {
                    // The reader's own bounds come first; this one keeps a mistake in them from being a hang.
                    let refusal = Refusal::closing(413, "Request too large");
                    let response = refused(&reader.refuse_unfinished(window.unread(), refusal), role);
                    put(guard, machine.site(), response, &mut burst, out);
                    burst.end = End::Refused;
                } else if role == Role::Public && !*is_counted && reader.stage() != Stage::Idle {
                    // Half a message takes a place, and may never become a whole one: it counts from its beginning.
                    *is_counted = true;
                    if let Err(too_often) = shard.front.limit_unread(peer, now.instant) {
                        burst.requests += 1;
                        let unfinished = reader.refuse_unfinished(window.unread(), Refusal::TIMEOUT);
                        let response = limited_response(counters, too_often, framing_of(&unfinished, role));
                        put(guard, machine.site(), response, &mut burst, out);
                        burst.end = End::Refused;
                    }
                }
                break;
            }
            Read::Request(request, consumed) => {
                burst.requests += 1;
                let is_counted = std::mem::take(is_counted);
                let mut framing = machine.framing(&request);
                if closing {
                    framing.connection = Persistence::Close;
                }
                let monitored =
                    if role == Role::Admin { monitoring(shard, &request, framing.connection) } else { None };
                let limited = match role {
                    Role::Public if !is_counted || shard.front.is_by_proxy(peer) => {
                        shard.front.limit(peer, &request, now.instant)
                    }
                    Role::Public | Role::WaitingRoom | Role::Admin => Ok(()),
                };
                let response = monitored.unwrap_or_else(|| {
                    if let Err(too_often) = limited {
                        return limited_response(counters, too_often, framing);
                    }
                    match machine.handle_request(now, role, &request, guard.id.reply_to(burst.pending)) {
                        Outcome::Now(answer) => PendingResponse::Answered(answer, framing),
                        Outcome::Later => PendingResponse::Later(framing),
                    }
                });
                put(guard, machine.site(), response, &mut burst, out);
                window.consume(consumed);
                if framing.connection == Persistence::Close {
                    burst.end = End::Close;
                } else if burst.is_full(out) {
                    burst.end = End::Full;
                }
            }
            Read::Refused(refusal) => {
                burst.requests += 1;
                let limited = match role {
                    Role::Public if !std::mem::take(is_counted) => shard.front.limit_unread(peer, now.instant),
                    Role::Public | Role::WaitingRoom | Role::Admin => Ok(()),
                };
                let response = match limited {
                    Ok(()) => refused(&refusal, role),
                    Err(too_often) => limited_response(counters, too_often, framing_of(&refusal, role)),
                };
                put(guard, machine.site(), response, &mut burst, out);
                if refusal.close {
                    counters.ended[Ended::Refused as usize].add(1);
                    burst.end = End::Refused;
                } else {
                    window.consume(refusal.consumed);
                    if burst.is_full(out) {
                        burst.end = End::Full;
                    }
                }
            }
        }
    }
    counters.requests.add(burst.requests as u64);
    if burst.requests > 0 {
        shard.pump.notify();
    }
    burst
}

impl Burst {
    fn is_full(&self, out: &[u8]) -> bool {
        self.requests == BURST_REQUESTS_MAX || out.len() + self.document_bytes > BURST_ANSWER_BYTES_MAX
    }
}

/// The answers that monitoring asks for; they look across cores, so they are the shell's.
fn monitoring<M: Machine>(
    shard: &Shard<M>,
    request: &Request<'_>,
    persistence: Persistence,
) -> Option<PendingResponse> {
    let mut response = Vec::new();
    let date = shard.date.borrow();
    let running_ms = shard.clock.instant().since(Instant::default()).as_millis() as u64;
    let edge = EdgeView {
        cores: &shard.all_counters,
        certificates: &shard.certificates,
        workers: &shard.workers,
        history: &shard.history,
        running_ms,
    };
    let status = admin::answer(&edge, request, persistence, &date, &mut response)?;
    Some(PendingResponse::Written(response, status))
}

/// The answer to a message that is not served.
fn refused(refusal: &Refusal, role: Role) -> PendingResponse {
    let (name, value) = NO_STORE;
    let answer = Answer::error(refusal.status, refusal.error).with_field(name, value);
    PendingResponse::Answered(answer, framing_of(refusal, role))
}

/// Its origin is not known where its head could not be read.
fn framing_of(refusal: &Refusal, role: Role) -> Framing {
    Framing { connection: refusal.connection(), head_only: refusal.head_only, cors: role.is_open_to_scripts() }
}

/// The answer to one who comes too often.
fn limited_response(counters: &ShellCounters, too_often: TooOften, framing: Framing) -> PendingResponse {
    counters.requests_limited.add(1);
    PendingResponse::Answered(Answer::Limited { seconds: too_often.seconds }, framing)
}

/// Puts an answer behind those before it.
fn put<M: Machine>(
    guard: &ConnectionGuard<M>,
    site: &Site,
    response: PendingResponse,
    burst: &mut Burst,
    out: &mut Vec<u8>,
) {
    burst.waits |= matches!(response, PendingResponse::Later(_));
    if burst.waits {
        burst.pending += 1;
        burst.document_bytes += response.document_bytes();
        guard.shard.connections.borrow_mut().push(guard.id, response);
    } else {
        write_response(&guard.shard, site, &response, out);
    }
}

fn write_responses<M: Machine>(guard: &ConnectionGuard<M>, out: &mut Vec<u8>) {
    let machine = guard.shard.machine.borrow();
    for response in guard.shard.connections.borrow_mut().take_burst(guard.id) {
        write_response(&guard.shard, machine.site(), &response, out);
    }
}

fn write_response<M: Machine>(shard: &Shard<M>, site: &Site, response: &PendingResponse, out: &mut Vec<u8>) {
    let status = match response {
        PendingResponse::Answered(answer, framing) => {
            answer.write(site, &shard.date.borrow(), *framing, out);
            answer.status()
        }
        PendingResponse::Written(response, status) => {
            out.extend_from_slice(response);
            *status
        }
        PendingResponse::Later(_) => unreachable!("every answer is there"),
    };
    shard.counters.shell.response(status);
}

/// Tells a client whose request took too long; says nothing to one that was only idle, or that has gone. Never waits:
/// one that takes no answers would not take this one either, and the time it had is over.
fn say_timeout<M: Machine>(guard: &ConnectionGuard<M>, stream: &Stream, role: Role, late: &Refusal) {
    let phase = guard.shard.connections.borrow_mut().timed_out(guard.id);
    if !matches!(phase, Some(Phase::Head | Phase::Body)) {
        return;
    }
    let mut out = guard.shard.buffers.borrow_mut().take_write();
    let response = refused(late, role);
    write_response(&guard.shard, guard.shard.machine.borrow().site(), &response, &mut out);
    // The connection is closed either way.
    let _ = stream.try_write(&out);
    guard.shard.buffers.borrow_mut().give_write(out);
}

/// Closes so that the last answer arrives: says that nothing more comes, then listens until the client has ended too,
/// for a bounded time and number of bytes. Bytes that are unread at a close would make it a reset, and a reset takes
/// an answer with it that is still on its way (RFC 9112 section 9.6).
async fn linger<M: Machine>(guard: &ConnectionGuard<M>, stream: &mut Stream, mut inbound: Inbound) {
    guard.set_phase(Phase::Lingering, true);
    let mut left = if stream.shutdown(Shutdown::Write).is_ok() { LINGER_BYTES_MAX } else { 0 };
    while left > 0 {
        let mut window = std::mem::take(&mut inbound.window);
        window.consume(window.len());
        let (read, filled) = stream.read(window).await;
        inbound.window = filled;
        match read {
            Ok(bytes) if bytes > 0 && bytes < left => left -= bytes,
            _ => break,
        }
    }
    guard.shard.buffers.borrow_mut().give_read(inbound);
}
