//! One client's connection: read, answer every whole request that has come, write, read on.
//!
//! A *burst* is all requests that one read brought. Their answers leave in one write and in order; while one of them
//! is still being decided the connection reads nothing more, so a client can have no more under way than a burst. A
//! client that hangs up is noticed when it is written to: what was reserved for it stands.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;

use flux_net::{Stream, Window};
use flux_protocol::http::response::CONTINUE;
use flux_protocol::http::{Connection, Limits, Read, Reader, Refusal, Request, Stage};

use crate::admin;
use crate::answer::Site;
use crate::connections::{ConnectionId, Phase, Place};
use crate::core::Outcome;
use crate::machine::Machine;
use crate::routes::Role;
use crate::shard::Shard;
use crate::shell_counters::Ended;
use crate::shell_limits::{
    BURST_ANSWER_BYTES_MAX, BURST_REQUESTS_MAX, LINGER_BYTES_MAX, READ_BUFFER_BYTES, READ_BUFFER_BYTES_MAX,
};

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
    /// Answers that come later are among its places.
    waits: bool,
    end: End,
}

/// A connection's place in the table, counted from the moment it is accepted. Given up before the socket is closed: the
/// ticker shuts sockets down by number.
pub(crate) struct Seat<M: Machine> {
    shard: Rc<Shard<M>>,
    id: ConnectionId,
}

impl<M: Machine> Seat<M> {
    /// Takes a place for a connection that was just accepted.
    pub(crate) fn take(shard: &Rc<Shard<M>>, stream: &Stream, role: Role) -> Seat<M> {
        let mut connections = shard.connections.borrow_mut();
        let id = connections.enter(stream.as_raw_fd(), role, shard.tick.get());
        shard.counters.shell.connections.set(connections.open() as u64);
        Seat { shard: Rc::clone(shard), id }
    }

    fn set_phase(&self, phase: Phase, afresh: bool) {
        self.shard.connections.borrow_mut().set_phase(self.id, phase, self.shard.tick.get(), afresh);
    }

    /// Waits until the whole burst is answered.
    async fn answered(&self) {
        poll_fn(|context| match self.shard.connections.borrow_mut().poll_answered(self.id, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

impl<M: Machine> Drop for Seat<M> {
    fn drop(&mut self) {
        let mut connections = self.shard.connections.borrow_mut();
        connections.leave(self.id);
        self.shard.counters.shell.connections.set(connections.open() as u64);
        if self.shard.draining.get() {
            self.shard.pump.notify(); // it may have been the last
        }
    }
}

/// Serves one client until one side ends. The seat stands behind the stream: what comes last is dropped first.
pub(crate) async fn serve<M: Machine>(mut stream: Stream, seat: Seat<M>, role: Role) {
    let shard = Rc::clone(&seat.shard);
    let mut reader = Reader::new(Limits::DEFAULT);
    let mut window = shard.buffers.borrow_mut().take_read();
    let mut end = End::Starved;
    loop {
        if end == End::Starved {
            let (read, filled) = stream.read(window).await;
            window = filled;
            match read {
                Ok(bytes) if bytes > 0 => shard.counters.shell.bytes_read.add(bytes as u64),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                _ => {
                    say_timeout(&seat, &stream);
                    break;
                }
            }
        }
        let mut out = shard.buffers.borrow_mut().take_write();
        let burst = take_burst(&seat, role, &mut reader, &mut window, &mut out);
        if burst.waits {
            seat.set_phase(Phase::Answers, true);
            seat.answered().await;
            write_places(&seat, &mut out);
        }
        end = burst.end;
        if end == End::Starved && reader.expects_continue() {
            out.extend_from_slice(CONTINUE);
            reader.continue_sent();
        }
        if out.is_empty() {
            shard.buffers.borrow_mut().give_write(out);
        } else {
            seat.set_phase(Phase::Writing, true);
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
                window = fitting(&shard, window);
                seat.set_phase(phase_of(reader.stage()), burst.requests > 0);
            }
            End::Close if window.is_empty() && !shard.draining.get() => break,
            End::Close | End::Refused => {
                linger(&seat, &mut stream, window).await;
                return;
            }
        }
    }
    shard.buffers.borrow_mut().give_read(window);
}

fn phase_of(stage: Stage) -> Phase {
    match stage {
        Stage::Idle => Phase::Idle,
        Stage::Head => Phase::Head,
        Stage::Body => Phase::Body,
    }
}

/// Hands every whole request to the machine. Answers that are there at once go straight into `out`, as long as none
/// before them is awaited.
fn take_burst<M: Machine>(
    seat: &Seat<M>,
    role: Role,
    reader: &mut Reader,
    window: &mut Window,
    out: &mut Vec<u8>,
) -> Burst {
    let shard = &*seat.shard;
    let counters = &shard.counters.shell;
    let now = shard.clock.now();
    let mut machine = shard.machine.borrow_mut();
    let date = shard.date.borrow();
    let closing = shard.draining.get() && role != Role::Admin;
    let mut burst = Burst { requests: 0, waits: false, end: End::Starved };
    // Places of the burst that are in the table, not in `out`.
    let mut places = 0;
    while burst.end == End::Starved {
        match reader.read(window.unread()) {
            Read::Incomplete => {
                if !window.make_room(READ_BUFFER_BYTES_MAX) {
                    // The reader's own bounds come first; this one keeps a mistake in them from being a hang.
                    let refusal = Refusal::closing(413, "Request too large");
                    place_refusal(seat, machine.site(), &refusal, burst.waits, out);
                    burst.end = End::Refused;
                }
                break;
            }
            Read::Request(request, consumed) => {
                burst.requests += 1;
                let mut framing = machine.framing(&request);
                if closing {
                    framing.connection = Connection::Close;
                }
                if role == Role::Admin
                    && let Some((response, status)) = monitoring(shard, &request, framing.connection)
                {
                    place(seat, Place::Written(response, status), burst.waits, out);
                    places += usize::from(burst.waits);
                } else {
                    match machine.handle_request(now, role, &request, seat.id.ticket(places)) {
                        Outcome::Now(answer) if !burst.waits => {
                            counters.response(answer.status());
                            answer.write(machine.site(), &date, framing, out);
                        }
                        Outcome::Now(answer) => {
                            shard.connections.borrow_mut().push(seat.id, Place::Answered(answer, framing));
                            places += 1;
                        }
                        Outcome::Later => {
                            shard.connections.borrow_mut().push(seat.id, Place::Later(framing));
                            burst.waits = true;
                            places += 1;
                        }
                    }
                }
                window.consume(consumed);
                if framing.connection == Connection::Close {
                    burst.end = End::Close;
                } else if burst.requests == BURST_REQUESTS_MAX || out.len() > BURST_ANSWER_BYTES_MAX {
                    burst.end = End::Full;
                }
            }
            Read::Refused(refusal) => {
                burst.requests += 1;
                place_refusal(seat, machine.site(), &refusal, burst.waits, out);
                places += usize::from(burst.waits);
                if refusal.close {
                    counters.ended[Ended::Refused as usize].add(1);
                    burst.end = End::Refused;
                } else {
                    window.consume(refusal.consumed);
                    if burst.requests == BURST_REQUESTS_MAX {
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

/// The answers that monitoring asks for; they look across cores, so they are the shell's.
fn monitoring<M: Machine>(shard: &Shard<M>, request: &Request<'_>, connection: Connection) -> Option<(Vec<u8>, u16)> {
    let mut response = Vec::new();
    let date = shard.date.borrow();
    let status = admin::answer(&shard.all_counters, request, connection, &date, &mut response)?;
    Some((response, status))
}

fn place_refusal<M: Machine>(seat: &Seat<M>, site: &Site, refusal: &Refusal, waits: bool, out: &mut Vec<u8>) {
    let mut response = Vec::new();
    write_refusal(seat, site, refusal, &mut response);
    place(seat, Place::Written(response, refusal.status), waits, out);
}

/// With the fields that let the pages' scripts read it: what was refused may not even say where it came from, and what is
/// told is the same for everybody.
fn write_refusal<M: Machine>(seat: &Seat<M>, site: &Site, refusal: &Refusal, out: &mut Vec<u8>) {
    refusal.write(out, &seat.shard.date.borrow(), &site.cors_fields());
}

/// Puts an answer of the shell behind those before it.
fn place<M: Machine>(seat: &Seat<M>, place: Place, waits: bool, out: &mut Vec<u8>) {
    if waits {
        seat.shard.connections.borrow_mut().push(seat.id, place);
    } else {
        write_place(seat, &place, out);
    }
}

fn write_places<M: Machine>(seat: &Seat<M>, out: &mut Vec<u8>) {
    let mut connections = seat.shard.connections.borrow_mut();
    let machine = seat.shard.machine.borrow();
    let date = seat.shard.date.borrow();
    for place in connections.take_burst(seat.id) {
        match place {
            Place::Answered(answer, framing) => {
                seat.shard.counters.shell.response(answer.status());
                answer.write(machine.site(), &date, framing, out);
            }
            Place::Written(response, status) => {
                seat.shard.counters.shell.response(status);
                out.extend_from_slice(&response);
            }
            Place::Later(_) => unreachable!("every answer is there"),
        }
    }
}

fn write_place<M: Machine>(seat: &Seat<M>, place: &Place, out: &mut Vec<u8>) {
    if let Place::Written(response, status) = place {
        seat.shard.counters.shell.response(*status);
        out.extend_from_slice(response);
    }
}

/// A read buffer that has grown for one large request is not kept by an idle connection.
fn fitting<M: Machine>(shard: &Shard<M>, window: Window) -> Window {
    if window.is_empty() && window.capacity() > READ_BUFFER_BYTES {
        return shard.buffers.borrow_mut().take_read();
    }
    window
}

/// Tells a client whose request took too long; says nothing to one that was only idle, or that has gone. Never waits for
/// it: one that does not read what it was sent before would be waited for without end.
fn say_timeout<M: Machine>(seat: &Seat<M>, stream: &Stream) {
    let phase = seat.shard.connections.borrow_mut().timed_out(seat.id);
    if !matches!(phase, Some(Phase::Head | Phase::Body)) {
        return;
    }
    let mut out = seat.shard.buffers.borrow_mut().take_write();
    write_refusal(seat, seat.shard.machine.borrow().site(), &Refusal::TIMEOUT, &mut out);
    seat.shard.counters.shell.response(Refusal::TIMEOUT.status);
    // Where there is no room for it, nobody is there to read it.
    let _ = stream.try_write(&out);
    seat.shard.buffers.borrow_mut().give_write(out);
}

/// Closes so that the last answer arrives: says that nothing more comes, then listens until the client has ended too,
/// for a bounded time and number of bytes. Bytes that are unread at a close would make it a reset, and a reset takes
/// an answer with it that is still on its way (RFC 9112 section 9.6).
async fn linger<M: Machine>(seat: &Seat<M>, stream: &mut Stream, mut window: Window) {
    seat.set_phase(Phase::Lingering, true);
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    loop {
        window.consume(window.len());
        let (read, filled) = stream.read(window).await;
        window = filled;
        match read {
            Ok(bytes) if bytes > 0 && bytes < left => left -= bytes,
            _ => break,
        }
    }
    seat.shard.buffers.borrow_mut().give_read(window);
}
