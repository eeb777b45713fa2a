//! Sales of another topic on the same Redis: their orders are for other workers, so they are left alone.

use crate::sale::{Options, PLAIN, Sale, init_reply, order};
use crate::server::{Server, strings, text};

const OURS: Options = Options { rate: 50, topic: "orders", ..PLAIN };

#[test]
fn a_sale_notes_its_topic_and_edges_of_another_leave_it_alone() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &OURS);
    assert_eq!(text(client.command(&["HGET", &sale.key("sale"), "topic"])), "orders");
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    let before = client.snapshot();
    let look = sale.refresh_of(&mut client, true, "other");
    assert_eq!((look.state(), &look.0[2..]), (("foreign", "orders"), &vec![String::new(); 13][..]));
    assert_eq!(
        sale.relay(&mut client, "e", &["0", "60000", "10", "", "other"]),
        [],
        "its order is not theirs to deliver"
    );
    assert_eq!(sale.close_of(&mut client, "other"), ["T", "orders"]);
    for force in [false, true] {
        assert_eq!(
            strings(init_reply(&mut client, "p", &Options { topic: "other", force, ..PLAIN })),
            ["T", "orders"],
            "what stands in the outbox would be delivered into the other topic"
        );
    }
    assert_eq!(client.snapshot(), before, "nothing changed");
    assert_eq!(sale.refresh_of(&mut client, true, "orders").state(), ("open", ""));
    assert_eq!(sale.relay(&mut client, "e", &["0", "60000", "10", "", "orders"]).len(), 1);
}

#[test]
fn a_suspended_sale_of_another_topic_is_not_taken_over_either() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &OURS);
    client.command(&["HSET", &sale.key("sale"), "replid", &"0".repeat(40)]);
    let before = client.snapshot();
    assert_eq!(sale.refresh_of(&mut client, true, "other").state(), ("foreign", "orders"));
    assert_eq!(client.snapshot(), before);
}

#[test]
fn a_name_is_free_for_another_topic_once_nothing_of_its_sale_can_be_delivered() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &OURS);
    let entry = sale.reserve(&mut client, &[order("r1", 1, "o1", "u")])[0][1..].to_owned();
    sale.close_of(&mut client, "orders");
    let others = Options { topic: "other", ..PLAIN };
    assert_eq!(strings(init_reply(&mut client, "p", &others))[0], "T", "one order is still to be delivered");
    client.command(&["XDEL", &sale.key("outbox"), &entry]);
    let reply = strings(init_reply(&mut client, "p", &others));
    assert_eq!(
        (reply[0].as_str(), reply.len()),
        ("OK", 3),
        "the end of the sale before is none of this topic's: {reply:?}"
    );
    let noted = text(client.command(&["HEXISTS", &sale.key("sales"), &sale.id]));
    assert_eq!(noted, "0", "a ledger that never heard of it would miss its orders");
    let next = Sale { id: reply[1].clone(), ..sale };
    assert_eq!(next.refresh_of(&mut client, true, "other").state(), ("open", ""));
    assert_eq!(next.refresh_of(&mut client, true, "orders").state(), ("foreign", "other"));
}

#[test]
fn a_sale_of_before_topics_were_noted_is_everybodys_own() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &PLAIN);
    assert_eq!(text(client.command(&["HEXISTS", &sale.key("sale"), "topic"])), "0");
    assert_eq!(sale.refresh_of(&mut client, true, "orders").state(), ("open", ""));
    assert_eq!(sale.codes(&mut client, &[order("r1", 1, "o1", "u")]), ["A"]);
    assert_eq!(sale.relay(&mut client, "e", &["0", "60000", "10", "", "other"]).len(), 1);
    assert_eq!(sale.close_of(&mut client, "other")[0], "OK");
}

#[test]
fn a_topic_s_own_edges_open_anew_over_a_sale_that_goes_on_and_are_told_how_the_one_before_ended() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &OURS);
    sale.reserve(&mut client, &[order("r1", 4, "o1", "u")]);
    assert_eq!(
        strings(init_reply(&mut client, "p", &OURS))[0],
        "BUSY",
        "a sale of one's own is in the way as any other"
    );
    let reply = strings(init_reply(&mut client, "p", &Options { force: true, ..OURS }));
    assert_eq!(reply[0], "OK", "what stands in the outbox is delivered into the same topic: {reply:?}");
    assert_eq!(reply[3..], [&sale.id, "1", "10", "6", "50", "100"], "its end is this topic's to tell");
}

#[test]
fn a_key_of_another_type_is_no_topic() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &OURS);
    client.command(&["DEL", &sale.key("sale")]);
    client.command(&["SET", &sale.key("sale"), "orders"]);
    let before = client.snapshot();
    assert_eq!(sale.close_of(&mut client, "orders"), ["S", "sale"]);
    assert_eq!(strings(init_reply(&mut client, "p", &OURS)), ["S", "sale"]);
    assert_eq!(client.snapshot(), before, "nothing changed");
}
