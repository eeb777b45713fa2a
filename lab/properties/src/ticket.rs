//! Tickets: what verifies was signed, for this user, and has one spelling.

use flux_protocol::queue::{Place, Seed, TICKET_TEXT_BYTES, Ticket, TicketKey};

use crate::input::Input;

/// Sale, user, and a place to sign; the rest is shown as a ticket.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (slot, rank) = ((input.number() as u32) >> 1, input.number() as u32);
    let (has_come, at, sale_id) = (input.byte() & 1 == 1, input.byte(), input.number());
    let user = input.piece(64);
    let product = input.piece(64);
    let shown = input.rest();

    let seed = Seed::new([at; 32]);
    let key = TicketKey::new(&seed, product, sale_id);
    let ticket = Ticket { place: Place { slot, rank }, has_come };
    let text = key.sign(ticket, user);
    assert_eq!(key.verify(&text, user), Some(ticket), "what was signed is read back");
    assert_eq!(Ticket::claimed(&text), Some(ticket));

    for text in [shown, &text[..]] {
        if let Some(found) = key.verify(text, user) {
            assert_eq!(text, key.sign(found, user), "what verifies is what would be signed, letter for letter");
            assert_eq!(Ticket::claimed(text), Some(found));
        }
    }
    if shown != text {
        assert_eq!(key.verify(shown, user), None, "nobody has the key");
    }
    let mut altered = text;
    altered[usize::from(at) % TICKET_TEXT_BYTES] ^= 1 << (rank % 8);
    assert_eq!(key.verify(&altered, user), None, "a bit of it was changed");
    let another = [user, b"-"].concat();
    assert_eq!(key.verify(&text, &another), None, "of another user");
    assert_eq!(TicketKey::new(&seed, product, sale_id ^ 1).verify(&text, user), None, "of another sale");
    assert_eq!(TicketKey::new(&Seed::new([!at; 32]), product, sale_id).verify(&text, user), None, "of another seed");
}
