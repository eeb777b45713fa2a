//! Whole runs: a Flux-Gate in the world, a crowd, faults, an operator who mends, and what must hold afterwards.
//!
//! - [`shape`]: what a run consists of (`swarm`: which parts of that there are at all; `clocks`: which of them may be set back),
//!   [`faults`]: what goes wrong in it; both follow from the seed; [`aimed`]: shapes that lead to a planted bug.
//! - [`run`]: the run itself, `mend`: its operator, `told`: what they tell a rebuild that asks; `truth`: what the servers hold at its
//!   end; [`verdict`]: the invariants I1 to I6, `lines`: those of fair queues; `moments`: what holds at every moment; `patience`: that
//!   nobody waits for ever; `observers`: that nobody's belief goes back; `distrust`: when Redis may not be believed.
//! - [`attempt`]: a run by its seed, and what is left of it that still fails.

pub mod aimed;
pub mod attempt;
mod clocks;
mod distrust;
pub mod faults;
mod lines;
mod mend;
mod moments;
mod observers;
mod patience;
pub mod run;
pub mod shape;
mod swarm;
mod told;
mod truth;
pub mod verdict;
