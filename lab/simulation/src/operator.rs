//! An operator in the world: opens and closes sales over an edge's admin listener.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use flux_net::{Address, Stream, within};

use crate::crowd::answer;
use crate::edge::ADMIN_PORT;
use crate::world::World;

/// Longer than any deadline of an edge.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the edge of this name; status and body, or `None` where no answer came.
pub fn post(world: &mut World, edge: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{ADMIN_PORT}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let address = Address::Tcp { host: edge.to_owned(), port: ADMIN_PORT };
    let told: Rc<RefCell<Option<(u16, String)>>> = Rc::default();
    let teller = Rc::clone(&told);
    let operator = world.start("operator", || {
        vec![Box::pin(async move {
            let Ok(mut stream) = Stream::connect(&address, PATIENCE).await else { return };
            if stream.write_all(request.into_bytes()).await.0.is_err() {
                return;
            }
            let answered = within(PATIENCE, answer(&mut stream)).await.expect("a simulated timer");
            if let Some(Ok((status, body, _))) = answered {
                *teller.borrow_mut() = Some((status, String::from_utf8_lossy(&body).into_owned()));
            }
        })]
    });
    let limit = 3 * PATIENCE;
    let mut left = limit;
    while world.is_alive(operator) && !left.is_zero() {
        let step = Duration::from_millis(10);
        world.run_for(step);
        left -= step;
    }
    told.take()
}
