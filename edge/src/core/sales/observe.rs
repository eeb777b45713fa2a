//! What a core remembers of a sale once it was refreshed, by this core or another: what changes by it, and what is said of it.
//!
//! Never asks Redis anything itself, but for the calls that a refresh makes due (relay, retirement, the status of a queue).

use flux_protocol::observed::Bucket;
use flux_protocol::order::Identifier;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::time::{Instant, Now};
use tracing::{error, warn};

use crate::core::Core;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::wakes::Wake;
use crate::limits::FOREIGN_TOPICS_MAX;
use crate::redis::replies::Refreshed;
use crate::sale::{Sale, SaleState};

impl Core {
    /// Remembers what a refresh saw that was asked for at `asked`, by this core or another.
    pub(crate) fn see(&mut self, now: Now, index: ProductIndex, asked: Instant, refreshed: Refreshed) {
        if self.products[index].seen.is_some_and(|seen| seen > asked) {
            return; // Another core has looked since.
        }
        let before = self.products[index].sale;
        let later = match &refreshed {
            Refreshed::Sale { sale, .. } if !is_planted(Bug::OlderSaleBelieved) => self.later_than(index, sale, asked),
            _ => None,
        };
        let refreshed = match (refreshed, later) {
            (Refreshed::Sale { sale, .. }, Some(later)) => {
                self.note_older_sale(index, sale, later);
                Refreshed::Suspended { reason: "behind".into(), stands: None }
            }
            (refreshed, _) => refreshed,
        };
        let product = &mut self.products[index];
        product.seen = Some(asked);
        product.is_foreign = matches!(refreshed, Refreshed::Foreign(_));
        match refreshed {
            Refreshed::Foreign(topic) => {
                (product.sale, product.state) = (None, SaleState::Suspended);
                product.outbox.distrust();
                (product.outbox.entries, product.outbox.orders) = (0, 0);
                self.see_queue(now, index, 0, None);
                let name = self.products[index].name;
                self.note_foreign(name, topic);
            }
            Refreshed::Unknown => self.suspend(index, "unknown"),
            Refreshed::Suspended { reason, stands } => {
                product.suspended = product.suspended.max(stands);
                self.suspend(index, &reason);
            }
            Refreshed::Sale {
                sale,
                is_fenced,
                state,
                opens_in,
                stock,
                outbox_entries,
                outbox_orders,
                outbox_oldest,
                outbox_newest,
                queue_seed,
            } => {
                if product.sale.is_none_or(|known| (known.id, known.generation) != (sale.id, sale.generation)) {
                    product.admission.tokens.reset(Bucket::of(product.name.as_str(), sale.id));
                    product.sold_out_until = Instant::default();
                    if let Some(document) = &mut product.document {
                        document.forget();
                    }
                }
                if stock > product.stock {
                    // Units came back: what was remembered is not true any more.
                    product.sold_out_until = Instant::default();
                }
                (product.sale, product.is_fenced) = (Some(sale), is_fenced);
                product.state = state;
                if state == SaleState::Scheduled {
                    product.schedule(asked, opens_in);
                }
                product.stock = stock;
                product.is_good = true;
                let outbox = &mut product.outbox;
                (outbox.entries, outbox.orders) = (outbox_entries, outbox_orders);
                // What another core has seen names no entries: those this core knows of stand for now.
                if outbox_oldest.is_some() || outbox_entries == 0 {
                    outbox.oldest = outbox_oldest.map(|id| match outbox.oldest {
                        Some((known, since)) if known == id => (known, since),
                        _ => (id, now.instant),
                    });
                    outbox.mark_newest(now.instant, outbox_newest, self.config.relay_horizon());
                }
                let stands = outbox.oldest.is_some_and(|(_, since)| now.instant > since);
                if self.is_first {
                    if stands {
                        self.relay_if_due(now, index);
                    }
                    self.retire_if_due(now, index);
                }
                self.see_queue(now, index, sale.id, queue_seed);
            }
        }
        let product = &self.products[index];
        let is_over = matches!(product.state, SaleState::Closed | SaleState::Suspended);
        if is_over || product.sale != before {
            self.wake_all(index);
        }
    }

    /// The sale of a product is another, or over: the orders that wait for its tokens, for its queue's status or for a refresh set
    /// out anew, by what is known now.
    fn wake_all(&mut self, index: ProductIndex) {
        let product = &mut self.products[index];
        self.wakes.extend(product.admission.waiters.drain(..), Wake::Again);
        let queue = product.admission.queue.iter_mut();
        self.wakes.extend(queue.flat_map(|queue| queue.waiters.drain(..)), Wake::Again);
        self.wakes.extend(product.refresh.order_waiters.drain(..), Wake::Again);
    }

    /// Says once for each topic that sales of it stand here: an edge or a Redis is not where it was meant to be.
    pub(crate) fn note_foreign(&mut self, name: Identifier, topic: String) {
        if self.refreshes.foreign_topics.contains(&topic) || self.refreshes.foreign_topics.len() >= FOREIGN_TOPICS_MAX {
            return;
        }
        tracing::warn!(
            product = name.as_str(),
            topic,
            own = self.config.topic,
            "a sale on this Redis is of another topic: it and all others of that topic are left alone (503)"
        );
        self.refreshes.foreign_topics.push(topic);
    }

    /// Redis cannot be trusted with the product: nothing is sold of it, and nothing that was seen of its outbox counts.
    fn suspend(&mut self, index: ProductIndex, reason: &str) {
        let product = &mut self.products[index];
        // A script may have said so since the last good refresh.
        if std::mem::take(&mut product.is_good) || product.state != SaleState::Suspended {
            product.state = SaleState::Suspended;
            self.counters.suspensions.add(1);
            // Once and then ever more rarely: where Redis is another one, all of a hundred thousand are.
            let suspensions = self.counters.suspensions.get();
            if suspensions.is_power_of_two() {
                warn!(product = product.name.as_str(), reason, suspensions, "a sale is suspended");
            }
        }
        product.outbox.distrust();
    }

    /// Id and generation of a later sale than `shown`, which a look that was asked for at `asked` has found: this core has seen it,
    /// open or fenced off by a rebuild, or another has, or has opened it before anybody could look.
    fn later_than(&self, index: ProductIndex, shown: &Sale, asked: Instant) -> Option<(u64, u32)> {
        let product = &self.products[index];
        let seen = product.latest().filter(|latest| *latest > (shown.id, shown.generation));
        let by_others = product.sight.lost_since(shown.id, asked).map(|id| (id, 1));
        seen.max(by_others)
    }

    /// Redis shows an earlier sale or generation than is known here. It is told until it ends, each time twice as
    /// rarely as before.
    fn note_older_sale(&self, index: ProductIndex, shown: Sale, (seen_sale, seen_generation): (u64, u32)) {
        self.counters.older_sales.add(1);
        let seen = self.counters.older_sales.get();
        if !seen.is_power_of_two() {
            return;
        }
        let product = &self.products[index];
        error!(
            product = product.name.as_str(),
            seen_sale,
            seen_generation,
            shown_sale = shown.id,
            shown_generation = shown.generation,
            times = seen,
            "Redis shows an earlier sale than it has shown before: an old master that woke, or a copy that was put back; \
             nothing is sold from it. Where a rebuild has proved this sale, the later one was lost before word of it had reached \
             the topic: start this edge anew"
        );
    }
}
