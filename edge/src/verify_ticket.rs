//! `flux-edge verify-ticket`: whether the lot in a ticket is the one that the sale's published seed draws for its user.
//!
//! Needs nothing but what a buyer has: no server, no key. It cannot tell whether the shop signed the ticket, and need
//! not. It tells whether the shop has drawn the lot that it had promised to draw, by the hash that it published before.

use std::fmt;

use clap::Args;
use flux_protocol::queue::{Rank, Seed, Ticket};

/// A ticket, whose it is, and the seed that the shop has published.
#[derive(Args, Clone, Debug)]
pub struct Claim {
    /// The seed, as GET /queue/{product} tells it when the sale has ended: 64 hexadecimal digits
    #[arg(long, value_name = "SEED", value_parser = seed)]
    seed: Seed,

    /// The user id that the ticket was given to
    #[arg(long, value_name = "USER")]
    user: String,

    /// The ticket: 32 characters
    #[arg(value_name = "TICKET", value_parser = ticket)]
    ticket: Ticket,
}

fn seed(text: &str) -> Result<Seed, String> {
    Seed::parse(text.as_bytes()).ok_or_else(|| "must be 64 hexadecimal digits".into())
}

fn ticket(text: &str) -> Result<Ticket, String> {
    Ticket::claimed(text.as_bytes()).ok_or_else(|| "is no ticket: it must be 32 characters of A-Z a-z 0-9 _ -".into())
}

/// What there is to say of a [`Claim`]; shown, it is for people.
#[derive(Debug)]
pub struct Finding {
    /// The lot is the true one.
    pub is_true: bool,
    ticket: Ticket,
    drawn: Rank,
    seed_hash: [u8; 32],
}

impl Claim {
    /// Draws the lot again.
    pub fn examine(&self) -> Finding {
        let user = self.user.as_bytes();
        Finding {
            is_true: self.ticket.is_true_lot(&self.seed, user),
            ticket: self.ticket,
            drawn: self.seed.rank(user),
            seed_hash: self.seed.hash(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.ticket.place;
        let verdict = if self.is_true { "true" } else { "NOT TRUE" };
        writeln!(f, "{verdict}: the ticket says lot {}, the seed draws lot {}", place.rank, self.drawn)?;
        match place.slot {
            0 => writeln!(f, "slot 0: came before the sale opened")?,
            slot => writeln!(f, "slot {slot}: came in that second of the sale, counted from 1")?,
        }
        write!(f, "SHA-256 of the seed, which must be the seedHash that was told before: ")?;
        self.seed_hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
