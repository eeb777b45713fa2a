//! The end of an order's way in: a token is at hand, or it waits for one, or it is sent to the waiting room or to its place in the
//! fair queue.
//!
//! Sales without a fair queue meet nothing of it but one question: whether they have one.

use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::queue::Slot;
use flux_protocol::time::Now;

use crate::answer::{Answer, Unavailable};
use crate::core::Core;
use crate::core::admission::Way;
use crate::core::state::orders::{OrderIndex, Stage, Turn, Wish};
use crate::core::state::product::{AdmissionState, Product};
use crate::core::state::product_index::ProductIndex;
use crate::core::state::queue_state::{Called, QueueState, Verdict};
use crate::core::state::token_lease::{Admission, Tokens};
use crate::limits::TOKEN_WAITERS_MAX;

impl Core {
    /// Takes a token for an order that has come so far, or finds the place where it waits.
    pub(crate) fn admit(&mut self, now: Now, index: ProductIndex, wish: &Wish) -> Way {
        let product = &mut self.products[index];
        let admission = &mut product.admission;
        let may_wait = admission.waiters.len() < TOKEN_WAITERS_MAX;
        // Nothing was left when it was last looked at: nobody is to stand in line for nothing, unless units came back.
        let is_left = product.stock > 0 || is_planted(Bug::EndlessLine);
        if admission.queue.is_some() && !is_left && self.lookups.has_place(product.under_way as usize) {
            return Way::Go(Stage::Lookup, Turn::None);
        }
        if let Some(queue) = &mut admission.queue {
            let verdict = queue.admit(now.instant, &mut admission.tokens, wish.user.as_bytes(), wish.shown.as_ref());
            return self.queue_way(now, index, wish, verdict, may_wait);
        }
        if product.sale.is_some_and(|sale| sale.rate == 0) {
            return Way::Go(Stage::Queued, Turn::None);
        }
        match admission.tokens.admit(now.instant) {
            Admission::Admitted => Way::Go(Stage::Queued, Turn::None),
            Admission::Wait if may_wait => Way::Go(Stage::Token, Turn::None),
            // Redis is too slow to answer: that does not say that the bucket is empty.
            Admission::Wait if admission.tokens.is_overdue(now.instant) => {
                Way::Answer(Answer::Unavailable(Unavailable::Redis))
            }
            // Nothing was left when it was last looked at: there is nothing to wait for, unless units came back.
            Admission::Refused if product.stock == 0 && self.lookups.has_place(product.under_way as usize) => {
                Way::Go(Stage::Lookup, Turn::None)
            }
            Admission::Wait | Admission::Refused => {
                let answer = Answer::waiting_room(product.name, wish.wants_json);
                if product.may_have_sold_out() && !product.is_fresh(now) {
                    self.refreshes.want(&mut self.products, index);
                }
                Way::Answer(answer)
            }
        }
    }

    /// Whether Redis owes an answer for longer than it may: that no token has come does not say that the bucket is empty.
    fn redis_is_silent(&self, now: Now) -> bool {
        !self.redis.down_for(now.instant).is_zero()
    }

    /// The way that follows from what the fair queue says of an order.
    fn queue_way(&mut self, now: Now, index: ProductIndex, wish: &Wish, verdict: Verdict, may_wait: bool) -> Way {
        let is_silent = matches!(verdict, Verdict::AwaitToken(_) | Verdict::Wait) && self.redis_is_silent(now);
        let Product { name, admission, under_way, .. } = &mut self.products[index];
        let AdmissionState { tokens, queue, .. } = admission;
        let (tokens, queue): (&Tokens, &mut QueueState) = (tokens, queue.as_mut().expect("it has said so"));
        let user = wish.user.as_bytes();
        let ticket = match verdict {
            Verdict::Admitted(None) => return Way::Go(Stage::Queued, Turn::None),
            Verdict::Admitted(Some(Called { slot, mark })) => {
                return Way::Go(Stage::Queued, Turn::Called { slot, mark, token_expires: tokens.last_expires() });
            }
            Verdict::AwaitToken(Called { slot, mark }) if may_wait => {
                return Way::Go(Stage::Called, Turn::Called { slot, mark, token_expires: now.instant });
            }
            Verdict::UsedUp { slot, until } if self.lookups.has_place(*under_way as usize) => {
                return Way::Go(Stage::Lookup, Turn::UsedUp { slot, until });
            }
            Verdict::UsedUp { .. } => return Way::Answer(Answer::Unavailable(Unavailable::Full)),
            Verdict::Wait if may_wait => return Way::Go(Stage::Token, Turn::None),
            Verdict::Unknown if queue.waiters.len() < TOKEN_WAITERS_MAX => return Way::AwaitStatus,
            Verdict::Unknown => return Way::Answer(Answer::Unavailable(Unavailable::Redis)),
            Verdict::AwaitToken(_) | Verdict::Wait if is_silent => {
                return Way::Answer(Answer::Unavailable(Unavailable::Redis));
            }
            Verdict::ToQueue(ticket) => Some(ticket),
            Verdict::AwaitToken(_) => {
                self.counters.queues.turned_away.add(1);
                queue.send_away(now.instant, user, wish.shown.as_ref())
            }
            Verdict::Wait => queue.send_to_queue(now.instant, user, wish.shown.as_ref()),
        };
        Way::Answer(Answer::in_queue(*name, ticket, wish.wants_json))
    }

    /// An order waits for its queue's status.
    pub(crate) fn await_status(&mut self, now: Now, index: OrderIndex, product: ProductIndex) {
        let queue = self.products[product].admission.queue.as_mut().expect("its status is unknown");
        queue.waiters.push(index);
        self.ask_queue_status(now, product, true);
    }

    /// Over the limit or too early: to the waiting room, with a place in the queue where there is one. An order that was called
    /// and could get no token because Redis does not answer is told so; the place stands, by the ticket that it showed.
    pub(crate) fn turn_away(&mut self, now: Now, index: OrderIndex, product: ProductIndex) -> Answer {
        let is_silent = self.redis_is_silent(now);
        let Product { name, admission, .. } = &mut self.products[product];
        let order = self.orders.get(index).expect("the caller has looked");
        if order.stage == Stage::Called && is_silent {
            return Answer::Unavailable(Unavailable::Redis);
        }
        let wish = &order.wish;
        let Some(queue) = &mut admission.queue else { return Answer::waiting_room(*name, wish.wants_json) };
        let (user, shown) = (wish.user.as_bytes(), wish.shown.as_ref());
        let ticket = match order.stage {
            Stage::Called => {
                self.counters.queues.turned_away.add(1);
                queue.send_away(now.instant, user, shown)
            }
            _ => queue.send_to_queue(now.instant, user, shown),
        };
        Answer::in_queue(*name, ticket, wish.wants_json)
    }

    /// An order whose place is used up, with all of its user up to that slot, joins the queue anew: behind all users who
    /// wait.
    pub(crate) fn send_behind(&mut self, now: Now, index: OrderIndex, product: ProductIndex, until: Slot) -> Answer {
        let Product { name, admission, .. } = &mut self.products[product];
        let wish = &self.orders.get(index).expect("the caller has looked").wish;
        let Some(queue) = &mut admission.queue else { return Answer::waiting_room(*name, wish.wants_json) };
        let ticket = queue.send_behind(now.instant, wish.user.as_bytes(), until);
        Answer::in_queue(*name, ticket, wish.wants_json)
    }

    /// An order comes by another place from now on, or by none: while it comes by one, no other order of its user does.
    pub(crate) fn take_turn(&mut self, index: OrderIndex, turn: Turn) {
        let Some(order) = self.orders.get_mut(index) else { return };
        let before = std::mem::replace(&mut order.turn, turn);
        let product = &mut self.products[order.product];
        product.leave_turn(before);
        product.enter_turn(turn);
    }

    /// Redis has served an order: the place by which it came is used up, and, where it says so, all of its user up to a later
    /// slot.
    pub(crate) fn use_turn_up(&mut self, index: OrderIndex, until: Option<Slot>) {
        if let Some(order) = self.orders.get(index) {
            self.products[order.product].use_turn_up(order.turn, until);
        }
    }
}
