//! What buyers do with the tickets that a fair queue gives them.

use std::time::Duration;

use flux_lab::crowd::Order;
use flux_lab::demo::visitors::Line;
use flux_net::{Clock, Stream, sleep, within};
use flux_protocol::queue::limits::SLOT_US;
use flux_protocol::queue::{Place, Ticket, Watermark, position};
use serde_json::Value;

use super::answer::{TicketText, answer};
use super::{CONNECT_PATIENCE, Crowd, PATIENCE, address};
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

/// What a document says of how many stand before a place, once its second is counted to the end (`edge/static/line.js`).
#[derive(Clone, Debug)]
pub struct Stands {
    /// Whose place, of which product, in the sale that opens then.
    pub of: (String, String, u64),
    /// Which.
    pub place: Place,
    /// When the document came, µs.
    pub seen_us: u64,
    /// When it was true, ms on Redis' clock.
    pub now_ms: u64,
    /// So many.
    pub before: u64,
    /// Lots are spread evenly, or not quite: so far off it may be.
    pub slack: u64,
}

impl Stands {
    fn read(order: &Order, place: Place, document: &Value) -> Option<Stands> {
        let (now_ms, opens_at) = (document["now"].as_u64()?, document["opensAt"].as_u64()?);
        if now_ms < opens_at + SLOT_US / 1000 * u64::from(place.slot) + SETTLING_MS {
            return None;
        }
        let mark = &document["watermark"];
        let part = |name: &str| mark[name].as_u64().and_then(|number| u32::try_from(number).ok());
        let watermark = Watermark(Place { slot: part("slot")?, rank: part("rank")? });
        let issued: Vec<u64> = document["issued"].as_array()?.iter().filter_map(Value::as_u64).collect();
        let own = place.slot.checked_sub(watermark.0.slot).and_then(|slots| issued.get(slots as usize));
        let uneven = own.copied().unwrap_or(0) + issued.first().copied().unwrap_or(0);
        Some(Stands {
            of: (order.product.clone(), order.user.clone(), opens_at),
            place,
            seen_us: Clock::start().instant().as_micros(),
            now_ms,
            before: position(place, watermark, &issued),
            slack: 3 + 2 * uneven.isqrt(),
        })
    }
}

/// Whether the second of this place has begun in the document's sale; else it is another sale's.
fn has_begun(place: Place, document: &Value) -> bool {
    let moment = |name: &str| document[name].as_u64().unwrap_or(0);
    let since_ms = moment("now").saturating_sub(moment("opensAt"));
    u64::from(place.slot) <= 1 + CLOCKS_APART + since_ms / (SLOT_US / 1000)
}

/// How many seconds the clock by which a place was given may be ahead of the one that a document tells.
const CLOCKS_APART: u64 = 2;

/// How long after its end a second's places may be reported still.
const SETTLING_MS: u64 = 300;

/// Looks at the document until it says that this place was called, or that nobody is called any more; or until it cannot be
/// had, which is no reason to stay away, or is of another sale than the ticket (`seed_hash`, once it is known; `edge/static/pursue.js`
/// does the same).
pub(super) async fn wait_until_called(
    crowd: &Crowd,
    door: usize,
    order: &Order,
    ticket: &TicketText,
    seed_hash: &mut Option<String>,
) {
    let Some(ticket) = Ticket::claimed(ticket) else { return };
    while let Some((line, document)) = line(&crowd.doors[door], &order.product).await {
        let told = document["seedHash"].as_str().map(str::to_owned);
        if seed_hash.as_ref().is_some_and(|of_ticket| told.as_ref() != Some(of_ticket))
            || !has_begun(ticket.place, &document)
        {
            return;
        }
        *seed_hash = told;
        crowd.stands.borrow_mut().extend(Stands::read(order, ticket.place, &document));
        if line.is_over || line.called.has_called(ticket.place) {
            return;
        }
        sleep(LOOK).await.expect("a simulated timer");
    }
}

/// `GET /queue`; `None` where it was not answered with a line.
async fn line(door: &(String, u16), product: &str) -> Option<(Line, Value)> {
    let mut stream = Stream::connect(&address(door), CONNECT_PATIENCE).await.ok()?;
    let request = format!("GET /queue/{product} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.into_bytes()).await.0.ok()?;
    let answer = within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer")?.ok()?;
    let document: Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    Some((Line::parse(&document)?, document))
}
