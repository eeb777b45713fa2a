//! The fair queue: places in line, the tickets that prove them, and the decision who is called.
//!
//! Nobody keeps a row for each visitor. A [`Ticket`] carries its own place, signed; a [`Place`] is the second of arrival
//! and, within it, a lot that anyone can check once the seed is known; one [`Watermark`] for all says who may order. The
//! watermark is moved by [`FairQueue`], whose decision is made inside Redis (`edge/lua/fair_queue.lua`) from counts that cores
//! report ([`Reporter`]); here it stands as a model that the script is held against, and that the simulation runs on.
//! docs/QUEUE.md has the reasons and the figures.
//!
//! Nothing here reads a clock or draws anything: time, seed and reports come in. Nothing here limits orders: that is the
//! token bucket's, which holds whatever this module decides.

pub mod distinct;
pub mod document;
pub mod fair_queue;
pub mod limits;
pub mod place;
pub mod report;
pub mod ticket;
pub mod turns;
pub mod view;

pub use distinct::Distinct;
pub use document::{Document, DocumentState, position};
pub use fair_queue::{Cohort, FairQueue, Moment, Moved, Terms};
pub use place::{Place, Rank, Seed, Slot, Watermark, slot_at};
pub use report::{Report, Reporter};
pub use ticket::{TICKET_TEXT_BYTES, Ticket, TicketKey};
pub use turns::Turns;
pub use view::{Standing, View};
