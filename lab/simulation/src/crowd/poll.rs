//! Who only looks, or means harm: pages that ask for a stock, for a line's document or how far an order is, at every moment of a run, of
//! sales and orders that there are and of some that nobody has made.

use std::rc::Rc;
use std::time::Duration;

use flux_net::{Clock, Stream, sleep, within};

use super::answer::answer;
use super::{Asked, CONNECT_PATIENCE, Crowd, PATIENCE, address};
use crate::edge::ADMIN_PORT;
use crate::random::Random;

/// A product that no run sells.
const NOBODY_SELLS: &str = "unicorn";

/// What somebody looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// `GET /stock`.
    Stock,
    /// `GET /queue`.
    Queue,
    /// `GET /order` of an order that somebody was told of last; of a made-up one where nobody was.
    Order,
    /// `GET /order` of an order that nobody made.
    MadeUp,
    /// `GET /readyz` of the admin listener, as whatever balances load does.
    Ready,
    /// `GET /metrics` there.
    Metrics,
    /// `POST /order` of what is no order.
    Garbage,
    /// `POST /order` of a product that nobody sells, each under a key of its own.
    Stranger,
}

impl Look {
    /// Whether the admin listener is asked.
    fn is_of_admin(self) -> bool {
        matches!(self, Look::Ready | Look::Metrics)
    }
}

/// Somebody who looks again and again.
#[derive(Clone, Debug)]
pub struct Looker {
    /// At what.
    pub look: Look,
    /// Of which product; `None`: of one that there is not.
    pub product: Option<String>,
    /// From when on, counted from the crowd's start.
    pub comes_after: Duration,
    /// Until when.
    pub leaves_after: Duration,
    /// The pause between two looks.
    pub pause: Duration,
    /// How many at once: pages of one household, or of somebody who means harm.
    pub at_once: u32,
}

impl Looker {
    fn path(&self, crowd: &Crowd, random: &mut Random) -> String {
        let product = self.product.as_deref().unwrap_or(NOBODY_SELLS);
        let made_up = format!("{:08x}-0000-8000-8000-{:012x}", random.bits() >> 32, random.bits() >> 16);
        match self.look {
            Look::Stock => format!("/stock/{product}"),
            Look::Queue => format!("/queue/{product}"),
            Look::Order => {
                let history = crowd.history.borrow();
                let mut latest = history.exchanges.iter().rev().filter(|exchange| exchange.order.product == product);
                let told = latest.find_map(|exchange| exchange.outcome.order_id());
                format!("/order/{product}/{}", told.map_or(made_up, |id| id.to_string()))
            }
            Look::MadeUp => format!("/order/{product}/{made_up}"),
            Look::Ready => "/readyz".to_owned(),
            Look::Metrics => "/metrics".to_owned(),
            Look::Garbage | Look::Stranger => "/order".to_owned(),
        }
    }

    fn request(&self, path: &str, name: &str, random: &mut Random) -> String {
        let body = match self.look {
            Look::Garbage => r#"{"productId":7,"userId":"nobody""#.to_owned(),
            Look::Stranger => format!(r#"{{"productId":"{NOBODY_SELLS}","userId":"nobody-{}"}}"#, random.below(9)),
            _ => return format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"),
        };
        format!(
            "POST {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             x-idempotency-key: strange-{:x}\r\ncontent-length: {}\r\n\r\n{body}",
            random.bits(),
            body.len()
        )
    }
}

/// One looker's way.
pub async fn look(crowd: Rc<Crowd>, looker: Looker, mut random: Random) {
    let clock = Clock::start();
    let began = clock.instant();
    sleep(looker.comes_after).await.expect("a simulated timer");
    while clock.instant().since(began) < looker.leaves_after {
        let door = random.below(crowd.doors.len() as u64) as usize;
        let (host, public) = &crowd.doors[door];
        let (name, port) = if looker.look.is_of_admin() { ("127.0.0.1", ADMIN_PORT) } else { ("shop", *public) };
        let mut streams = Vec::new();
        for _ in 0..looker.at_once {
            let path = looker.path(&crowd, &mut random);
            let Ok(mut stream) = Stream::connect(&address(&(host.clone(), port)), CONNECT_PATIENCE).await else {
                break;
            };
            let request = looker.request(&path, name, &mut random);
            let sent_us = clock.instant().as_micros();
            if stream.write_all(request.into_bytes()).await.0.is_ok() {
                streams.push((path, sent_us, stream));
            }
        }
        for (path, sent_us, mut stream) in streams {
            let answered = within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer");
            let ended_us = answered.as_ref().map(|_| clock.instant().as_micros());
            let answer = answered.and_then(Result::ok);
            let told = answer.map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned()));
            if let Some((200, body)) = &told
                && body.contains("\"status\":\"accepted\"")
            {
                crowd.note_made(clock.instant(), path.rsplit('/').next().unwrap_or_default(), body);
            }
            crowd.asked.borrow_mut().push(Asked { what: path, door, sent_us, ended_us, told });
        }
        sleep(looker.pause).await.expect("a simulated timer");
    }
}
