//! An operator in the world: opens and closes sales over an edge's admin listener, and looks at their stock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use flux_net::{Address, Stream, within};

use crate::crowd::answer;
use crate::edge::{ADMIN_PORT, PORT};
use crate::world::{ProcessId, World};

/// Longer than any deadline of an edge.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often [`wait`] looks.
const LOOK: Duration = Duration::from_millis(10);

/// Status and body, once they are there.
pub type Answer = Rc<RefCell<Option<(u16, String)>>>;

/// Asks the edge of this name for something to be done.
pub fn start_post(world: &mut World, edge: &str, path: &str, body: &str) -> (ProcessId, Answer) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{ADMIN_PORT}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    start(world, Address::Tcp { host: edge.to_owned(), port: ADMIN_PORT }, request)
}

/// The same, waiting for the answer; `None` where none came.
pub fn post(world: &mut World, edge: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let (process, answer) = start_post(world, edge, path, body);
    wait(world, process, PATIENCE * 3);
    answer.take()
}

/// What the public listener says of a product's stock.
pub fn stock(world: &mut World, edge: &str, product: &str) -> Option<(u16, String)> {
    let request = format!("GET /stock/{product} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    let (process, answer) = start(world, Address::Tcp { host: edge.to_owned(), port: PORT }, request);
    wait(world, process, PATIENCE * 3);
    answer.take()
}

/// Lets time pass until a process has ended, or for so long. Whether it has.
pub fn wait(world: &mut World, process: ProcessId, longest: Duration) -> bool {
    let mut left = longest;
    while world.is_alive(process) && !left.is_zero() {
        world.run_for(LOOK);
        left = left.saturating_sub(LOOK);
    }
    !world.is_alive(process)
}

fn start(world: &mut World, address: Address, request: String) -> (ProcessId, Answer) {
    let told = Answer::default();
    let teller = Rc::clone(&told);
    let process = world.start("operator", || {
        vec![Box::pin(async move {
            let Ok(mut stream) = Stream::connect(&address, PATIENCE).await else { return };
            if stream.write_all(request.into_bytes()).await.0.is_err() {
                return;
            }
            let answered = within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer");
            if let Some(Ok(answer)) = answered {
                *teller.borrow_mut() = Some((answer.status, String::from_utf8_lossy(&answer.body).into_owned()));
            }
        })]
    });
    (process, told)
}
