//! What buyers do with the tickets that a fair queue gives them.

use std::time::Duration;

use flux_lab::visitors::Line;
use flux_net::{Stream, sleep, within};
use flux_protocol::queue::Ticket;

use super::answer::{TicketText, answer};
use super::{CONNECT_PATIENCE, PATIENCE, address};
use crate::random::Random;

/// How often a patient buyer looks at the line's document.
const LOOK: Duration = Duration::from_secs(1);

/// A text that looks like a ticket and that nobody has signed.
const FORGED: TicketText = [b'A'; 32];

/// What a buyer does with tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// It shows its ticket and does not wait until it is called.
    Impatient,
    /// It looks at the line's document and comes, with its ticket, when it is called.
    Patient,
    /// It never shows one.
    Careless,
    /// It shows the ticket that somebody was given last: another's, perhaps of another sale. Else one that it made up.
    Forger,
    /// One of several orders of one user, each under a key of its own: it shows the place that the user was given first, and now
    /// and then the one that it was given itself.
    Cheat,
}

/// The tickets of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tickets {
    /// What was shown.
    pub shown: Option<TicketText>,
    /// What the answer brought.
    pub given: Option<TicketText>,
}

impl Habit {
    /// What is shown by a buyer that holds `held`, where somebody was given `last_given`, and the same user `first_given`.
    pub(super) fn shown(
        self,
        held: Option<TicketText>,
        last_given: Option<TicketText>,
        first_given: Option<TicketText>,
        random: &mut Random,
    ) -> Option<TicketText> {
        match self {
            Habit::Cheat if random.below(4) > 0 => first_given,
            Habit::Cheat => held.or(first_given),
            Habit::Impatient | Habit::Patient => held,
            Habit::Careless => None,
            Habit::Forger => last_given.filter(|text| Some(*text) != held).or(Some(FORGED)),
        }
    }
}

/// Looks at the document until it says that this place was called, or that nobody is called any more; or until it cannot be
/// had, which is no reason to stay away.
pub(super) async fn wait_until_called(door: &(String, u16), product: &str, ticket: &TicketText) {
    let Some(ticket) = Ticket::claimed(ticket) else { return };
    while let Some(line) = line(door, product).await {
        if line.is_over || line.called.has_called(ticket.place) {
            return;
        }
        sleep(LOOK).await.expect("a simulated timer");
    }
}

/// `GET /queue`; `None` where it was not answered with a line.
async fn line(door: &(String, u16), product: &str) -> Option<Line> {
    let mut stream = Stream::connect(&address(door), CONNECT_PATIENCE).await.ok()?;
    let request = format!("GET /queue/{product} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.into_bytes()).await.0.ok()?;
    let answer = within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer")?.ok()?;
    let document = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    Line::parse(&document)
}
