//! Edges killed at each step of an order, clients that vanish, ends in order.

use std::time::{Duration, Instant};

use super::outcome::Outcome;
use super::trial::{PLENTY, Trial, WAIT_MAX, two_edges, variable};
use crate::checker::Invariant;
use crate::control::Controlled;
use crate::deployment::DeploymentOptions;
use crate::error::LabError;
use crate::links::Links;
use crate::programs::Program;
use crate::proxy::{Proxy, Then, Way};

/// How often an edge is killed in one scenario, each in turn.
const KILLS: usize = 4;

/// Row 1.
pub(super) fn killed_before_reserve() -> Result<Outcome, LabError> {
    killed(|links, mark| {
        links.edge_redis.trap(Way::ToServer, mark, Then::Hold(Way::ToServer));
        links.edge_redis.wait_seen(WAIT_MAX)
    })
}

/// Row 2.
pub(super) fn killed_before_reply() -> Result<Outcome, LabError> {
    killed(|links, mark| {
        links.edge_redis.trap(Way::ToServer, mark, Then::Hold(Way::ToClient));
        links.edge_redis.wait_seen(WAIT_MAX)
    })
}

/// Row 3.
pub(super) fn killed_before_produce() -> Result<Outcome, LabError> {
    killed(|links, mark| {
        links.edge_kafka[0].trap(Way::ToServer, mark, Then::Hold(Way::ToServer));
        links.edge_kafka[0].wait_seen(WAIT_MAX)
    })
}

/// Row 4.
pub(super) fn killed_before_acknowledgement() -> Result<Outcome, LabError> {
    killed(|links, mark| {
        links.edge_kafka[0].trap(Way::ToServer, mark, Then::Hold(Way::ToClient));
        links.edge_kafka[0].wait_seen(WAIT_MAX)
    })
}

/// Kills the edge that serves, at the moment for which `stop` waits; the other one takes over.
fn killed(stop: impl Fn(&Links, &[u8]) -> Result<(), LabError>) -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    let front = Proxy::before(trial.deployment.edges[0].public())?;
    trial.load_through(&front)?;
    for kill in 0..KILLS {
        let links = trial.links();
        stop(&links, &trial.mark())?;
        trial.deployment.edges[kill % 2].program.kill();
        // What the dead edge had written is lost with it, where it was held.
        links.all().for_each(|proxy| proxy.reset());
        links.pass();
        take_over(&mut trial, &front, kill)?;
    }
    trial.conclude()
}

/// Leads the crowd from edge `kill % 2`, which was killed, to the other one, and starts it again.
fn take_over(trial: &mut Trial, front: &Proxy, kill: usize) -> Result<(), LabError> {
    front.aim(trial.deployment.edges[(kill + 1) % 2].public());
    front.reset();
    front.pass();
    trial.mended()?;
    trial.deployment.edges[kill % 2].program.start()
}

/// Row 5.
pub(super) fn killed_before_answer() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    let front = Proxy::before(trial.deployment.edges[0].public())?;
    trial.load_through(&front)?;
    for kill in 0..KILLS {
        front.trap(Way::ToClient, b"HTTP/1.1 200", Then::Hold(Way::ToClient));
        front.wait_seen(WAIT_MAX)?;
        trial.deployment.edges[kill % 2].program.kill();
        take_over(&mut trial, &front, kill)?;
    }
    trial.conclude()
}

/// Row 6.
pub(super) fn clients_gone() -> Result<Outcome, LabError> {
    const TIMES: u32 = 40;
    let two_cores = vec![variable("FLUX_CORES", "2")];
    let mut trial = Trial::start(DeploymentOptions { edge_environment: two_cores, ..two_edges() }, PLENTY)?;
    let front = Proxy::before(trial.deployment.edges[0].public())?;
    let mut options = trial.crowd_options();
    options.targets = vec![front.address(), trial.deployment.edges[1].public()];
    trial.load_with(options)?;
    for _ in 0..TIMES {
        trial.more_accepted(10)?;
        front.reset();
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 37.
pub(super) fn rolling_restart() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(DeploymentOptions { workers: 2, ..two_edges() }, PLENTY)?;
    trial.load()?;
    for index in 0..2 {
        end_in_order(&mut trial, |trial| &mut trial.deployment.edges[index].program)?;
        trial.deployment.edges[index].program.start()?;
        trial.more_accepted(100)?;
        end_in_order(&mut trial, |trial| &mut trial.deployment.workers[index].program)?;
        trial.deployment.workers[index].program.start()?;
        trial.more_accepted(100)?;
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 38.
pub(super) fn terminated_a_hundred_times() -> Result<Outcome, LabError> {
    const TIMES: usize = 100;
    const DRAIN: Duration = Duration::from_secs(5);
    /// The process' own end, on a busy machine.
    const BESIDE: Duration = Duration::from_secs(2);
    let environment = vec![variable("FLUX_CORES", "1"), variable("FLUX_DRAIN_DEADLINE", "5s")];
    let mut trial = Trial::start(DeploymentOptions { edge_environment: environment, ..two_edges() }, PLENTY)?;
    trial.load()?;
    let mut longest = Duration::ZERO;
    for time in 0..TIMES {
        trial.more_accepted(5)?;
        let begun = Instant::now();
        end_in_order(&mut trial, |trial| &mut trial.deployment.edges[time % 2].program)?;
        longest = longest.max(begun.elapsed());
        trial.deployment.edges[time % 2].program.start()?;
    }
    trial.expect(Invariant::I6, longest <= DRAIN + BESIDE, format!("a drain took {longest:?}, {DRAIN:?} was allowed"));
    trial.note = format!("longest drain {:.2} s", longest.as_secs_f64());
    trial.mended()?;
    trial.conclude()
}

/// SIGTERM, and exit code 0.
fn end_in_order(trial: &mut Trial, program: impl Fn(&mut Trial) -> &mut Program) -> Result<(), LabError> {
    /// Beyond every drain deadline.
    const END_MAX: Duration = Duration::from_secs(30);
    let status = program(trial).terminate(END_MAX)?;
    let name = program(trial).name().to_owned();
    trial.expect(Invariant::I2, status.code() == Some(0), format!("{name} ended with {status} after SIGTERM"));
    Ok(())
}
