//! `GET /queue/{product}`: one document for everybody, from which a page works out its own place and its turn.
//!
//! Each core asks Redis for it (`lua/queue.lua`) as often as it may be old, however many look. Never names a visitor.

use bytes::Bytes;
use flux_protocol::queue::{Document, DocumentState, Place, Seed, Watermark};
use flux_protocol::resp::{Items, Reply};
use flux_protocol::time::Now;

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::request::Outcome;
use crate::core::state::product_index::ProductIndex;
use crate::limits::{QUEUE_AGE_MAX, STOCK_WAITERS_MAX};
use crate::redis::scripts::SCRIPTS;
use crate::sale::SaleState;

impl Core {
    /// `GET /queue/{product}` of a product in memory.
    pub(crate) fn handle_queue(&mut self, now: Now, index: ProductIndex, reply_to: ReplyTo) -> Outcome {
        self.note_asked(now, index);
        if !self.is_up_to_date(now, index)
            && let Some(document) = &mut self.products[index].document
        {
            document.forget();
        }
        let product = &mut self.products[index];
        if product.state == SaleState::Suspended {
            return Outcome::Now(Answer::Unavailable(Unavailable::Suspended));
        }
        let document = product.document.get_or_insert_default();
        if let Some((asked, told)) = &document.told
            && now.instant.since(*asked) < QUEUE_AGE_MAX
        {
            return Outcome::Now(Answer::Queue(told.clone()));
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        if document.waiters.len() >= STOCK_WAITERS_MAX {
            return Outcome::Now(Answer::Unavailable(Unavailable::Full));
        }
        document.waiters.push((now.instant, reply_to));
        if document.asked.is_none() {
            self.documents_wanted.push(index);
        }
        Outcome::Later
    }

    /// Asks for the document of a product for which requests wait.
    pub(crate) fn write_document(&mut self, now: Now, index: ProductIndex) {
        let product = &mut self.products[index];
        let Some(document) = product.document.as_mut().filter(|document| document.asked.is_none()) else { return };
        document.asked = Some(now.instant);
        let keys: [&[u8]; 3] = [&product.keys.queue, &product.keys.sale, &product.keys.stock];
        let seen = product.seen().texts();
        let arguments = seen.each_ref().map(String::as_bytes);
        self.redis.call_script(now.instant, PendingCall::Document(index), |out| {
            SCRIPTS.queue.write_call_with(out, &keys, &arguments)
        });
    }

    /// The connection to Redis is gone: the requests that wait for a document that was not asked for yet are told so.
    pub(crate) fn refuse_documents(&mut self) {
        while let Some(index) = self.documents_wanted.pop() {
            let Some(document) = &mut self.products[index].document else { continue };
            for (_, reply_to) in std::mem::take(&mut document.waiters) {
                self.replies.complete(reply_to, Answer::Unavailable(Unavailable::Redis));
            }
        }
    }

    /// The answer of `queue.lua`. No reply: the connection is gone.
    pub(crate) fn handle_document(&mut self, index: ProductIndex, reply: Option<Reply<'_>>) {
        let answer = match reply.map(|reply| reply.items()) {
            Some(Ok(Some(mut items))) => match items.next_bulk() {
                Some(b"S" | b"U") => Answer::Unavailable(Unavailable::Suspended),
                Some(state) => document(state, items).map_or(Answer::Unavailable(Unavailable::Redis), Answer::Queue),
                None => Answer::Unavailable(Unavailable::Redis),
            },
            Some(Err(error)) => {
                self.refusals.note(&self.counters, error);
                Answer::Unavailable(Unavailable::Redis)
            }
            Some(Ok(None)) | None => Answer::Unavailable(Unavailable::Redis),
        };
        let held = self.products[index].document.as_mut().expect("it was asked for");
        let asked = held.asked.take().expect("a question is answered once");
        if let Answer::Queue(told) = &answer {
            held.told = Some((asked, told.clone()));
        }
        let is_told = matches!(answer, Answer::Queue(_));
        held.waiters.retain(|(came, reply_to)| {
            // Behind a slow Redis what it says may be as old as the question.
            if is_told && came.since(asked) >= QUEUE_AGE_MAX {
                return true;
            }
            self.replies.complete(*reply_to, answer.clone());
            false
        });
        if !held.waiters.is_empty() {
            self.documents_wanted.push(index);
        }
    }
}

/// The document that follows from what the script says behind the state.
fn document(state: &[u8], mut items: Items<'_>) -> Option<Bytes> {
    let state = match state {
        b"scheduled" => DocumentState::Waiting,
        b"open" => DocumentState::Open,
        b"sold_out" => DocumentState::SoldOut,
        b"closed" => DocumentState::Closed,
        _ => return None,
    };
    let _sale_id = items.next_number()?;
    let seed = Seed::parse(items.next_bulk()?)?;
    let (rate, available) = (items.next_number()?, items.next_number()?);
    let (now_us, opens_us) = (items.next_number()?, items.next_number()?);
    let (now_ms, opens_at_ms) = (now_us / 1000, opens_us / 1000);
    let Some(slot) = items.next_number() else {
        // No line: what the countdown of a page needs, which retries from then on.
        let json = serde_json::json!({"queue": "retry", "state": state.name(), "opensAt": opens_at_ms, "now": now_ms,
            "rate": rate, "available": available});
        return Some(Bytes::from(json.to_string()));
    };
    let place = Place { slot: u32::try_from(slot).ok()?, rank: u32::try_from(items.next_number()?).ok()? };
    let mut issued = Vec::new();
    while let Some(count) = items.next_number() {
        issued.push(count);
    }
    let document = Document {
        state,
        opens_at_ms,
        now_ms,
        rate,
        watermark: Watermark(place),
        issued: &issued,
        available,
        seed_hash: &seed.hash(),
        seed: seed.bytes(),
    };
    let mut json = Vec::new();
    document.write_json(&mut json);
    Some(Bytes::from(json))
}
