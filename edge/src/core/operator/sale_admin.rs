//! Opening and closing sales: `POST /init` and `POST /close`.
//!
//! Each is one script, then (for a sale that opened) its name in the registry, then a record in the topic. The answer
//! is 200 only when that record is acknowledged on acks=all, so that the ledger knows what only Redis would know
//! otherwise. A caller that is told that the outcome is unknown retries: what then turns out to have been done already
//! is published once more, and the ledger takes each record once. Never on the hot path.
//!
//! What Redis answered is published within the same age as what it reserved: an edge that stood still for longer, and goes on,
//! does as one that died there. A rebuild may have looked since, at a Redis that had lost what was done, and put the sale before
//! in force again: word of that one's end, or of a later one, would leave the ledger with another sale than Redis has.

use std::rc::Rc;

use flux_protocol::fence::Spans;
use flux_protocol::http::Request;
use flux_protocol::order::{Identifier, SaleEvent};
use flux_protocol::redis_keys;
use flux_protocol::resp::{self, Belief, Reply, printable};
use flux_protocol::time::Now;

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::calls::{PendingCall, RecordTag};
use crate::core::operator::bodies::{Opening, closing};
use crate::core::operator::events::{OPENED, sale_closed, sale_under_way};
use crate::core::request::Outcome;
use crate::core::state::operations::OperationIndex;
use crate::redis::keys::Keys;
use crate::redis::replies::number;
use crate::redis::scripts::SCRIPTS;
use crate::sale::{SaleState, Seen};

impl Core {
    /// `POST /init`.
    pub(crate) fn handle_init(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        match self.begin_init(now, request, reply_to) {
            Ok(()) => Outcome::Later,
            Err(answer) => Outcome::Now(answer),
        }
    }

    fn begin_init(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Result<(), Answer> {
        let Opening { name, total, rate, burst, per_user, opens_at, queue, force } =
            Opening::read(request, &self.config)?;
        self.may_begin(name)?;
        let seed = self.ids.draw_seed();
        let keys = Keys::new(&name);
        let numbers = [total, rate, burst, u64::from(force), u64::from(per_user), opens_at].map(|it| it.to_string());
        let [total_text, rate_text, burst_text, force_text, per_user_text, opens_at_text] =
            numbers.each_ref().map(String::as_bytes);
        let (seed_text, queue_text) = (seed.as_bytes(), queue.name().as_bytes());
        let config = Rc::clone(&self.config);
        let topic_text = config.topic.as_bytes();
        let [seen_id, seen_generation] = self.seen_of(now, name);
        let arguments = [
            total_text,
            rate_text,
            burst_text,
            force_text,
            b"",
            seed_text,
            per_user_text,
            opens_at_text,
            queue_text,
            topic_text,
            seen_id.as_bytes(),
            seen_generation.as_bytes(),
        ];
        let index = self.operations.insert(now.instant, reply_to, name);
        let operation = self.operations.get(index).expect("begun just now");
        operation.answer = done(&format!("Stock initialized for {name} to {total}"));
        self.redis.call_script(now.instant, PendingCall::Init(index), |out| {
            SCRIPTS.init.write_call_with(out, &keys.of_product(), &arguments)
        });
        operation.opening = Some(SaleEvent {
            event: OPENED.into(),
            product_id: name.as_str().into(),
            sale_id: 0,
            sale_total: total,
            generation: 0,
            withdrawn: 0,
            rate,
            burst,
            per_user,
            opens_at,
            queue: queue.name().into(),
            seed,
            timestamp: 0,
        });
        Ok(())
    }

    /// `POST /close`.
    pub(crate) fn handle_close(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        match self.begin_close(now, request, reply_to) {
            Ok(()) => Outcome::Later,
            Err(answer) => Outcome::Now(answer),
        }
    }

    fn begin_close(&mut self, now: Now, request: &Request<'_>, reply_to: ReplyTo) -> Result<(), Answer> {
        let name = closing(request)?;
        self.may_begin(name)?;
        let index = self.operations.insert(now.instant, reply_to, name);
        self.operations.get(index).expect("begun just now").answer = done(&format!("Sale of {name} closed"));
        let keys = Keys::new(&name);
        let [seen_id, seen_generation] = self.seen_of(now, name);
        let arguments = [self.config.topic.as_bytes(), seen_id.as_bytes(), seen_generation.as_bytes()];
        self.redis.call_script(now.instant, PendingCall::Close(index), |out| {
            SCRIPTS.close.write_call_with(out, &keys.of_product(), &arguments);
        });
        Ok(())
    }

    /// The latest sale id and generation that this core has seen of a product, as the scripts take them, with the fence that it
    /// obeys.
    fn seen_of(&self, now: Now, name: Identifier) -> [String; 2] {
        let known = self.products.find(name.as_bytes());
        known.map_or(Seen::of(None), |index| self.products.seen_obeying(now.instant, index)).texts()
    }

    fn may_begin(&self, name: Identifier) -> Result<(), Answer> {
        // Redis may have lost even the name: then only memory knows that a sale has to be rebuilt first.
        let known = self.products.find(name.as_bytes()).map(|index| &self.products[index]);
        if known.is_some_and(|product| product.state == SaleState::Suspended && product.sale.is_some()) {
            return Err(Answer::error(409, SUSPENDED));
        }
        if self.drain_until.is_some() {
            return Err(Answer::Unavailable(Unavailable::Draining));
        }
        if !self.redis.is_ready() {
            return Err(Answer::Unavailable(Unavailable::Redis));
        }
        if !self.producer.ready() {
            return Err(Answer::Unavailable(Unavailable::Kafka));
        }
        if self.operations.is_full() {
            return Err(Answer::Unavailable(Unavailable::Full));
        }
        Ok(())
    }

    /// `init.lua`'s answer.
    pub(crate) fn handle_init_reply(&mut self, now: Now, index: OperationIndex, reply: Option<Reply<'_>>) {
        let words = match self.words(reply) {
            Ok(words) => words,
            Err(answer) => return self.end(index, answer),
        };
        if self.is_left_too_late(now, index) {
            return;
        }
        let timestamp = self.probe.redis_ms(now);
        let Some(operation) = self.operations.get(index) else { return };
        let name = operation.name;
        match words.first().map(Vec::as_slice) {
            Some(b"OK") => {}
            Some(b"BUSY") => {
                operation.answer = Answer::error(409, &format!("A sale of {name} is under way"));
                // The edge that opened it may not have published that: where it is asked again, it is published again.
                operation.events.extend(sale_under_way(name, &words[1..]));
                return self.publish_events(now, index);
            }
            _ => return self.refuse_operation(now, index, &words),
        }
        let numbers: Option<Vec<u64>> = words[1..].iter().map(|word| number(word)).collect();
        let (sale_id, generation, before) = match numbers.as_deref() {
            Some([id, generation, before @ ..]) if matches!(before.len(), 0 | 6) => (*id, *generation as u32, before),
            _ => return self.end(index, Answer::Unknown),
        };
        operation.events.extend(sale_closed(name, before, timestamp));
        let opening = operation.opening.take().expect("opening a sale began with it");
        operation.events.push(SaleEvent { sale_id, generation, timestamp, ..opening });
        // From now on no core of this process answers for the sale before.
        if let Some(product) = self.products.insert(now.instant, name) {
            self.products[product].sight.note_sale(now.instant, sale_id);
            self.refreshes.want(&mut self.products, product);
        } else if let Some(sight) = self.products.board().known(&name) {
            sight.note_sale(now.instant, sale_id);
        }
        self.redis.call(now.instant, PendingCall::Register(index), |out| {
            resp::command(out, &[b"SADD", redis_keys::REGISTRY.as_bytes(), name.as_bytes()]);
        });
    }

    /// The name is in the registry: the events go out.
    pub(crate) fn handle_registered(&mut self, now: Now, index: OperationIndex, reply: Option<Reply<'_>>) {
        let registered = match reply.map(|reply| reply.items()) {
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                self.refusals.note(&self.counters, error);
                false
            }
            None => false,
        };
        if let Some(operation) = self.operations.get(index).filter(|_| !registered) {
            // The sale is open all the same, and the ledger is to know. Refreshes put the name into the registry.
            operation.answer = Answer::Unknown;
        }
        self.publish_events(now, index);
    }

    /// `close.lua`'s answer.
    pub(crate) fn handle_close_reply(&mut self, now: Now, index: OperationIndex, reply: Option<Reply<'_>>) {
        let words = match self.words(reply) {
            Ok(words) => words,
            Err(answer) => return self.end(index, answer),
        };
        if self.is_left_too_late(now, index) {
            return;
        }
        let timestamp = self.probe.redis_ms(now);
        let Some(operation) = self.operations.get(index) else { return };
        let name = operation.name;
        match words.first().map(Vec::as_slice) {
            Some(b"OK") => {}
            Some(b"U") => return self.end(index, Answer::UnknownProduct),
            _ => return self.refuse_operation(now, index, &words),
        }
        let numbers: Option<Vec<u64>> = words[1..].iter().map(|word| number(word)).collect();
        let event = numbers.and_then(|numbers| sale_closed(name, &numbers, timestamp));
        let Some(event) = event else { return self.end(index, Answer::Unknown) };
        let sale_id = event.sale_id;
        operation.events.push(event);
        if let Some(sight) = self.products.board().known(&name) {
            sight.note_closed(now.instant, sale_id);
        }
        if let Some(product) = self.products.find(name.as_bytes()) {
            self.refreshes.want(&mut self.products, product);
        }
        self.publish_events(now, index);
    }

    /// What `init.lua` or `close.lua` says where nothing was opened or closed.
    fn refuse_operation(&mut self, now: Now, index: OperationIndex, words: &[Vec<u8>]) {
        let [word, rest @ ..] = words else { return self.end(index, Answer::Unknown) };
        let answer = match &**word {
            b"S" => Answer::error(409, SUSPENDED),
            b"T" => Answer::error(409, OTHER_TOPIC),
            b"R" => Answer::error(409, NO_ID_LEFT),
            b"P" => {
                // The probe says it in the log and by `/readyz`.
                self.probe.next = now.instant;
                let command = rest.first().map(|command| printable(command)).unwrap_or_default();
                Answer::unavailable(&format!("{}: its user may not {command}", Unavailable::Redis.message()))
            }
            _ => Answer::Unknown,
        };
        self.end(index, answer);
    }

    fn words(&mut self, reply: Option<Reply<'_>>) -> Result<Vec<Vec<u8>>, Answer> {
        match reply.map(|reply| reply.items()) {
            Some(Ok(Some(mut items))) => {
                let mut words = Vec::new();
                while let Some(word) = items.next_bulk() {
                    words.push(word.to_vec());
                }
                Ok(words)
            }
            Some(Err(error)) => {
                self.refusals.note(&self.counters, error);
                Err(match error.belief() {
                    Belief::Refused | Belief::Failed => Answer::Unavailable(Unavailable::Redis),
                    Belief::Unknown => Answer::Unknown,
                })
            }
            Some(Ok(None)) | None => Err(Answer::Unknown),
        }
    }

    /// Whether what Redis did was so long ago that it is not told any more; the operation has ended then, with an outcome that
    /// nobody knows.
    fn is_left_too_late(&mut self, now: Now, index: OperationIndex) -> bool {
        let asked = self.operations.get(index).map(|operation| operation.asked);
        let is_too_late = asked.is_some_and(|asked| self.config.is_too_old(now.instant, asked));
        if is_too_late {
            self.end(index, Answer::Unknown);
        }
        is_too_late
    }

    fn publish_events(&mut self, now: Now, index: OperationIndex) {
        if self.is_left_too_late(now, index) {
            return;
        }
        let Some(operation) = self.operations.get(index) else { return };
        let events = std::mem::take(&mut operation.events);
        if events.is_empty() {
            let answer = operation.answer.clone();
            return self.end(index, answer);
        }
        operation.unacknowledged = events.len();
        let unpublished = operation.unpublished();
        let Some(partition) = self.producer.current_partition() else { return self.end(index, unpublished) };
        for event in events {
            let json = serde_json::to_vec(&event).expect("strings and numbers only");
            let (at, tag) = (event.timestamp as i64, RecordTag::Operation(index));
            let appended =
                self.producer.append(now.instant, partition, at, tag, |value| value.extend_from_slice(&json));
            if appended.is_err() {
                return self.end(index, unpublished);
            }
        }
    }

    /// Kafka's word on one of an operation's events.
    pub(crate) fn handle_event_settled(&mut self, now: Now, index: OperationIndex, acknowledged: bool) {
        let Some(operation) = self.operations.get(index) else { return };
        if !acknowledged {
            operation.answer = operation.unpublished();
        } else if !Spans::SHIPPED.may_answer(operation.asked, now.instant) {
            // A rebuild may have looked before the word of it stood in the log.
            operation.answer = Answer::Unknown;
        }
        operation.unacknowledged -= 1;
        if operation.unacknowledged == 0 {
            let answer = operation.answer.clone();
            self.end(index, answer);
        }
    }

    fn end(&mut self, index: OperationIndex, answer: Answer) {
        if let Some(operation) = self.operations.remove(index) {
            self.replies.complete(operation.reply_to, answer);
        }
    }
}

fn done(msg: &str) -> Answer {
    Answer::json(200, &serde_json::json!({ "status": "ok", "msg": msg }))
}

const OTHER_TOPIC: &str = "A sale of another topic stands under this name: close it by an edge of that topic";
/// Ids rise, and are milliseconds since the epoch: only a record that no edge has written leads there.
const NO_ID_LEFT: &str = "The sale before has the last sale id there is: sell under another name";
const SUSPENDED: &str = "Sale suspended, rebuild first";
