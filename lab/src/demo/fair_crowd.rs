//! Thousands of [`Visitor`]s of one fair sale. Those who wait stand in a list; a few threads carry the orders of those whose
//! turn it is, and ask Redis, behind the edges' backs, whether each who bought had been called.
//!
//! Never decides when to look at the line: the crowd's owner reads it and passes it on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flux_protocol::queue::{Place, Watermark};

use crate::demo::visitors::{Answer, Line, Patience, Visitor};
use crate::error::{Doing, LabError};
use crate::servers::Redis;

/// Orders that are sent at the same time: as many as are called at once where some tens a second are served.
const SENDERS: usize = 64;
/// Visitors of one crowd. Each has at most one order in the queues to and from the senders, which take some MiB.
const VISITORS_MAX: usize = 10_000;

/// Where a visitor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In line, or gone without having bought.
    Waits,
    /// An order is on its way.
    Orders,
    /// Was answered that the order may have been made, or is on its way: asks again until it is known.
    Unsure,
    /// Has bought.
    Bought {
        /// Whether their place was called, as Redis had it just afterwards. `None`: they needed none, since nobody waited.
        was_called: Option<bool>,
    },
    /// Was told that nothing is left.
    SoldOut,
}

/// One of the crowd.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub visitor: Visitor,
    /// Where they stand.
    pub standing: Standing,
}

impl Member {
    fn is_called(&self, line: &Line) -> bool {
        self.visitor.place().is_some_and(|place| line.called.has_called(place))
    }
}

/// An order to send: whose, and their number in the crowd.
struct Job(usize, Visitor);

/// How it was answered.
struct Heard(usize, Result<Member, LabError>);

/// A crowd at the edges of one sale. Dropping it ends it, when the orders on their way are answered.
#[derive(Debug)]
pub struct FairCrowd {
    members: Vec<Member>,
    under_way: usize,
    has_ended: Arc<AtomicBool>,
    /// Taken when the crowd is dropped.
    jobs: Option<SyncSender<Job>>,
    heard: Receiver<Heard>,
    senders: Vec<JoinHandle<()>>,
}

impl FairCrowd {
    /// Nobody yet. Orders go to `edges` (at least one) in turn.
    ///
    /// # Errors
    /// Where Redis cannot be reached.
    pub fn new(edges: &[SocketAddr], redis: &Redis, product: &str) -> Result<FairCrowd, LabError> {
        let (jobs, to_send) = sync_channel::<Job>(VISITORS_MAX);
        let (tell, heard) = sync_channel(VISITORS_MAX);
        let (to_send, has_ended) = (Arc::new(Mutex::new(to_send)), Arc::new(AtomicBool::new(false)));
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let (to_send, has_ended, tell) = (Arc::clone(&to_send), Arc::clone(&has_ended), tell.clone());
            let (edge, product, mut redis) = (edges[number % edges.len()], product.to_owned(), redis.connection()?);
            senders.push(std::thread::spawn(move || {
                // One of the idle holds the lock and waits; it lets go with a job in its hands.
                let next = || to_send.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(Job(number, visitor)) = next() {
                    if has_ended.load(Ordering::Relaxed) {
                        return;
                    }
                    // The crowd hears as long as it has not ended.
                    let _ = tell.send(Heard(number, order(visitor, edge, &product, &mut redis)));
                }
            }));
        }
        Ok(FairCrowd { members: Vec::new(), under_way: 0, has_ended, jobs: Some(jobs), heard, senders })
    }

    /// More come, and draw their places with their first order.
    ///
    /// # Panics
    /// Where they are more than 10,000 in all.
    pub fn come(&mut self, visitors: impl IntoIterator<Item = Visitor>) {
        for visitor in visitors {
            assert!(self.members.len() < VISITORS_MAX, "a crowd is at most {VISITORS_MAX} visitors");
            self.members.push(Member { visitor, standing: Standing::Waits });
            self.send(self.members.len() - 1);
        }
    }

    /// Sends the orders of those whose turn it is, the first in line first.
    pub fn call(&mut self, line: &Line) {
        let is_due = |member: &Member| member.standing == Standing::Waits && member.visitor.is_due(line.called);
        let mut due: Vec<usize> = (0..self.members.len()).filter(|number| is_due(&self.members[*number])).collect();
        due.sort_by_key(|number| self.members[*number].visitor.place());
        due.into_iter().for_each(|number| self.send(number));
    }

    /// Sends the orders of those who do not know what became of theirs, whatever the line says.
    pub fn ask_again(&mut self) {
        let unsure = |number: &usize| self.members[*number].standing == Standing::Unsure;
        let unsure: Vec<usize> = (0..self.members.len()).filter(unsure).collect();
        unsure.into_iter().for_each(|number| self.send(number));
    }

    /// Takes in what is answered, for so long.
    ///
    /// # Errors
    /// The first order that went wrong.
    pub fn hear(&mut self, length: Duration) -> Result<(), LabError> {
        let end = Instant::now() + length;
        loop {
            match self.heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Heard(number, answer)) => {
                    self.under_way -= 1;
                    self.members[number] = answer?;
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(LabError::failed("those who send orders broke down"));
                }
            }
        }
    }

    /// Everybody who has come.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Orders of which nobody knows yet what becomes of them.
    pub fn under_way(&self) -> usize {
        self.under_way + self.count(|member| member.standing == Standing::Unsure)
    }

    /// How many of their places were called.
    pub fn called(&self, line: &Line) -> usize {
        self.count(|member| member.is_called(line))
    }

    /// How many were called, want to buy, and have not bought.
    pub fn at_the_door(&self, line: &Line) -> usize {
        let has_bought = |member: &Member| matches!(member.standing, Standing::Bought { .. });
        self.count(|member| {
            member.is_called(line) && member.visitor.patience != Patience::Leaves && !has_bought(member)
        })
    }

    /// How many have bought.
    pub fn bought(&self) -> usize {
        self.count(|member| matches!(member.standing, Standing::Bought { .. }))
    }

    /// How many still want to buy.
    pub fn waiting(&self) -> usize {
        let wants = |member: &Member| match member.standing {
            Standing::Orders | Standing::Unsure => true,
            Standing::Waits => member.visitor.patience != Patience::Leaves,
            Standing::Bought { .. } | Standing::SoldOut => false,
        };
        self.count(wants)
    }

    fn count(&self, is_one: impl Fn(&Member) -> bool) -> usize {
        self.members.iter().filter(|member| is_one(member)).count()
    }

    fn send(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.standing = Standing::Orders;
        let jobs = self.jobs.as_ref().expect("only a crowd that is dropped has none");
        // The queue has room for everybody. If those who send have broken down, `hear` says so.
        let _ = jobs.send(Job(number, member.visitor.clone()));
        self.under_way += 1;
    }
}

impl Drop for FairCrowd {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        drop(self.jobs.take());
        for sender in self.senders.drain(..) {
            // One that panicked has said so on standard error.
            let _ = sender.join();
        }
    }
}

/// One visitor's order, and whether they were called if it was accepted.
fn order(
    mut visitor: Visitor,
    edge: SocketAddr,
    product: &str,
    redis: &mut redis::Connection,
) -> Result<Member, LabError> {
    let standing = match visitor.order(edge, product)? {
        Answer::Accepted => {
            let called = watermark(product, redis)?;
            Standing::Bought { was_called: visitor.place().map(|place| called.has_called(place)) }
        }
        Answer::InLine => Standing::Waits,
        Answer::Again => Standing::Unsure,
        Answer::SoldOut => Standing::SoldOut,
    };
    Ok(Member { visitor, standing })
}

/// How far the line was called, as Redis has it.
fn watermark(product: &str, redis: &mut redis::Connection) -> Result<Watermark, LabError> {
    let key = format!("product:{{{product}}}:queue");
    let told = redis::cmd("HMGET").arg(&key).arg("slot").arg("rank").query(redis);
    let (slot, rank) = told.doing(|| format!("reading {key}"))?;
    Ok(Watermark(Place { slot, rank }))
}
