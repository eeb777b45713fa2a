//! `GET /stock/{product}`: what is left, at most as old as it may be; else the next refresh tells.

use flux_protocol::time::Now;

use crate::answer::{Answer, ReplyTo, Unavailable};
use crate::core::Core;
use crate::core::request::Outcome;
use crate::core::state::product_index::ProductIndex;
use crate::limits::STOCK_WAITERS_MAX;

impl Core {
    /// `GET /stock/{product}` of a product in memory.
    pub(crate) fn handle_stock(&mut self, now: Now, index: ProductIndex, reply_to: ReplyTo) -> Outcome {
        self.note_asked(now, index);
        if self.is_up_to_date(now, index) {
            if let Some(stock) = self.products[index].fresh_stock(now) {
                return Outcome::Now(stock);
            }
            self.catch_up(now, index);
            if let Some(stock) = self.products[index].fresh_stock(now) {
                return Outcome::Now(stock);
            }
        }
        if !self.redis.is_ready() {
            return Outcome::Now(Answer::Unavailable(Unavailable::Redis));
        }
        if self.products[index].refresh.stock_waiters.len() >= STOCK_WAITERS_MAX {
            return Outcome::Now(Answer::Unavailable(Unavailable::Full));
        }
        self.products[index].refresh.stock_waiters.push((now.instant, reply_to));
        self.refreshes.want(&mut self.products, index);
        Outcome::Later
    }
}
