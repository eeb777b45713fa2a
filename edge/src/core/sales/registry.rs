//! The registry, a set of product names: read page by page, kept in order, and never believed.
//!
//! Only an edge's first core reads it: to find products whose outbox another edge has left behind. A few pages a
//! second, and the cursor is kept, so 300,000 names cost no more at a time than 5,000 do. For a name that is not in
//! memory `lua/forget.lua` is asked first: it takes out names that are not needed, and looks at the sale in the very
//! moment it does. What stays and is not over is refreshed, and kept in memory as far as there is room. Names that are
//! missing are put back.
//!
//! No request waits for the registry: a product that is asked for is found without it.

use std::collections::VecDeque;

use flux_protocol::order::{IDENTIFIER_BYTES_MAX, Identifier};
use flux_protocol::rare::{self, Rare};
use flux_protocol::resp::{self, Reply};
use flux_protocol::time::{Instant, Now};

use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::product_index::ProductIndex;
use crate::limits::{
    DISCOVER_NAMES_MAX, REFRESH_PRODUCTS_MAX, REGISTRY_DOUBTS_MAX, REGISTRY_INTERVAL, REGISTRY_NAMES_MAX,
    REGISTRY_PAGE_NAMES, REGISTRY_PAGE_NAMES_MAX, REGISTRY_PAGES_MAX, REGISTRY_SURVEYS_MAX,
};
use crate::redis::keys::Keys;
use crate::redis::replies::{Refreshed, number};
use crate::redis::scripts::SCRIPTS;
use crate::sale::SaleState;

/// The key, and its member that is no product: with it the registry is there even where no product is.
const REGISTRY: &[u8] = flux_protocol::redis_keys::REGISTRY.as_bytes();
const ALWAYS: &[u8] = b".";

impl Core {
    /// Once a second: the next pages.
    pub(crate) fn read_registry(&mut self, now: Now) {
        if !self.is_first || self.config.only_asks {
            return;
        }
        let registry = &mut self.registry;
        if registry.cursor > 0 || now.instant >= registry.next_scan {
            registry.pages_left = REGISTRY_PAGES_MAX;
            registry.next_scan = if registry.cursor > 0 { registry.next_scan } else { now.instant + REGISTRY_INTERVAL };
        }
        registry.doubts_left = REGISTRY_DOUBTS_MAX;
        registry.surveys_left = REGISTRY_SURVEYS_MAX;
        self.put_back(now);
        self.registry_on(now);
    }

    /// Goes on, one call of each kind at a time. The next page waits until the names of the last have been seen to.
    fn registry_on(&mut self, now: Now) {
        if !self.redis.is_ready() {
            return;
        }
        self.judge_names(now);
        self.survey(now);
        let registry = &mut self.registry;
        let in_hand = [&registry.doubted, &registry.strangers].into_iter().map(VecDeque::len).sum::<usize>()
            + registry.judged.len()
            + registry.surveyed.len();
        if registry.is_reading || registry.pages_left == 0 || in_hand > 0 {
            return;
        }
        registry.is_reading = true;
        registry.pages_left -= 1;
        let arguments = [
            registry.cursor.to_string(),
            rare::instead(REGISTRY_PAGE_NAMES, Rare::ShortPage, 1).to_string(),
            REGISTRY_PAGE_NAMES_MAX.to_string(),
            IDENTIFIER_BYTES_MAX.to_string(),
        ];
        let texts = arguments.each_ref().map(String::as_bytes);
        let write = |out: &mut Vec<u8>| SCRIPTS.page.write_call_with(out, &[REGISTRY], &texts);
        self.redis.call_script(now.instant, PendingCall::Registry, write);
    }

    /// One page. No reply: the connection is gone, and the same page is asked for again.
    pub(crate) fn handle_registry(&mut self, now: Now, reply: Option<Reply<'_>>) {
        self.registry.is_reading = false;
        let mut names = match reply.map(|reply| reply.items()) {
            Some(Ok(Some(names))) => names,
            Some(Err(error)) => {
                self.refusals.note(&self.counters, error);
                return;
            }
            Some(Ok(None)) | None => return,
        };
        let Some(cursor) = names.next_bulk().and_then(number) else { return };
        while let Some(name) = names.next_bulk() {
            let Some(name) = Identifier::new(name) else { continue };
            match self.products.find(name.as_bytes()) {
                Some(index) => self.products[index].listing.scan = self.registry.scan,
                None => self.registry.doubted.push_back(name),
            }
        }
        self.registry.cursor = cursor;
        if cursor == 0 {
            self.registry.scan += 1;
            self.registry.pages_left = 0;
        }
        self.registry_on(now);
    }

    /// Looks at names that are not in memory.
    fn survey(&mut self, now: Now) {
        let count = self.registry.strangers.len().min(REFRESH_PRODUCTS_MAX).min(self.registry.surveys_left);
        if !self.registry.surveyed.is_empty() || count == 0 {
            return;
        }
        self.registry.surveys_left -= count;
        self.registry.surveyed = self.registry.strangers.drain(..count).collect();
        self.registry.surveyed_at = now.instant;
        let keys: Vec<Keys> = self.registry.surveyed.iter().map(Keys::new).collect();
        let keys: Vec<&[u8]> = keys.iter().flat_map(Keys::of_product).collect();
        let vouched = self.witness.vouches(now.instant);
        let topic = self.config.topic.as_bytes();
        self.redis.call_script(now.instant, PendingCall::Survey, |out| {
            SCRIPTS.refresh.write_call_with(out, &keys, &[&vouched, topic])
        });
    }

    /// What stands behind the names. No reply: the connection is gone, the next scan looks again.
    pub(crate) fn handle_surveyed(&mut self, now: Now, reply: Option<Reply<'_>>) {
        let mut items = self.refusals.items_of(&self.counters, reply);
        let asked = self.registry.surveyed_at;
        for name in std::mem::take(&mut self.registry.surveyed) {
            match items.as_mut().and_then(Refreshed::read) {
                Some(Refreshed::Foreign(topic)) => self.note_foreign(name, topic),
                // It came to its end just now: the next scan tells.
                Some(Refreshed::Unknown) => {}
                Some(Refreshed::Sale { state: SaleState::Closed, outbox_entries: 0, .. }) => {}
                Some(refreshed) => {
                    // Another leaves for one that has orders to be delivered. Else it is refreshed again in the next scan.
                    let has_orders = matches!(refreshed, Refreshed::Sale { outbox_entries: 1.., .. });
                    let index = if has_orders {
                        self.products.insert(now.instant, name)
                    } else {
                        self.products.insert_if_room(now.instant, name)
                    };
                    if let Some(index) = index {
                        self.products[index].listing.scan = self.registry.scan;
                        // It was named here, not asked for.
                        self.products[index].refresh.last_asked = Instant::default();
                        self.products[index].sight.publish(now.instant, asked, &refreshed);
                        self.see(now, index, asked, refreshed);
                    }
                }
                None => {}
            }
        }
        self.registry_on(now);
    }

    /// A product in memory is seen to be over: it may need no name any more.
    pub(crate) fn note_over(&mut self, now: Now, index: ProductIndex) {
        if self.is_first && !self.products[index].listing.has_left && self.registry.doubted.len() < REGISTRY_NAMES_MAX {
            self.registry.doubted.push_back(self.products[index].name);
            self.registry_on(now);
        }
    }

    /// Asks whether names are needed.
    fn judge_names(&mut self, now: Now) {
        let count = self.registry.doubted.len().min(DISCOVER_NAMES_MAX).min(self.registry.doubts_left);
        if !self.registry.judged.is_empty() || count == 0 {
            return;
        }
        self.registry.doubts_left -= count;
        self.registry.judged = self.registry.doubted.drain(..count).collect();
        let names = &self.registry.judged;
        let keys: Vec<Keys> = names.iter().map(Keys::new).collect();
        let keys: Vec<&[u8]> = std::iter::once(REGISTRY).chain(keys.iter().flat_map(Keys::of_product)).collect();
        let span = self.config.idempotency_ttl.as_millis().to_string();
        let mut arguments = vec![span.as_bytes(), self.config.topic.as_bytes()];
        arguments.extend(names.iter().map(Identifier::as_bytes));
        self.redis.call_script(now.instant, PendingCall::Forget, |out| {
            SCRIPTS.forget.write_call_with(out, &keys, &arguments)
        });
    }

    /// Which names have left. No reply: the connection is gone, and they are asked for again when they are next seen.
    pub(crate) fn handle_forgotten(&mut self, now: Now, reply: Option<Reply<'_>>) {
        let mut items = self.refusals.items_of(&self.counters, reply);
        for name in std::mem::take(&mut self.registry.judged) {
            let verdict = items.as_mut().and_then(|items| items.next_bulk());
            let known = self.products.find(name.as_bytes());
            match (verdict, known) {
                (Some(b"G"), known) => {
                    self.counters.names_forgotten.add(1);
                    if let Some(index) = known {
                        self.products[index].listing.has_left = true;
                        self.leave_if_over(now, index);
                    }
                }
                (Some(b"K"), None) => self.registry.strangers.push_back(name),
                _ => {}
            }
        }
        self.registry_on(now);
    }

    /// A product in memory is walked past: a whole scan has not named it, though it should be there.
    pub(crate) fn note_lacking(&mut self, index: ProductIndex) {
        let scan = self.registry.scan;
        let product = &mut self.products[index];
        if product.listing.scan == 0 {
            product.listing.scan = scan;
        }
        let is_lacking = !product.is_over() && scan.saturating_sub(product.listing.scan) >= 2;
        if self.is_first && is_lacking && self.registry.lacking.len() < REGISTRY_NAMES_MAX {
            product.listing.scan = scan;
            self.registry.lacking.push(product.name);
        }
    }

    fn put_back(&mut self, now: Now) {
        let lacking = std::mem::take(&mut self.registry.lacking);
        if !lacking.is_empty() && self.redis.is_ready() {
            self.redis.call(now.instant, PendingCall::Quiet, |out| {
                resp::array_header(out, 3 + lacking.len());
                resp::bulk(out, b"SADD");
                resp::bulk(out, REGISTRY);
                resp::bulk(out, ALWAYS);
                lacking.iter().for_each(|name| resp::bulk(out, name.as_bytes()));
            });
        }
    }
}
