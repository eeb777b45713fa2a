//! Requests that wait for the status of an order, and the question on its way (`reads/order_status.rs` asks it).

use std::collections::{HashMap, VecDeque};

use flux_protocol::order::Uuid;
use flux_protocol::resp::Arguments;
use flux_protocol::time::Instant;
use foldhash::fast::RandomState;

use crate::answer::ReplyTo;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::products::Products;
use crate::core::state::waiting_products::has_share;
use crate::limits::{GATHERED_SALES_MAX, STATUS_IDS_MAX, STATUSES_WAITING_MAX};
use crate::redis::scripts::SCRIPTS;
use crate::sale::Seen;

/// A request that waits for an order's status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) reply_to: ReplyTo,
    pub(crate) id: Uuid,
    pub(crate) since: Instant,
}

/// An order in the question on its way, and the request that asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Its place among the ids of its product.
    pub(crate) place: usize,
    /// `None`: the time was up, and they were told so.
    pub(crate) asker: Option<Asker>,
}

/// Those of one product in the question on its way.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) ids: usize,
    pub(crate) asked: Vec<Asked>,
}

/// Statuses that are asked for.
#[derive(Debug, Default)]
pub(crate) struct Statuses {
    waiting: HashMap<ProductIndex, VecDeque<Asker>, RandomState>,
    /// Products for which requests wait, each once, in the order of their turns.
    line: VecDeque<ProductIndex>,
    /// Requests that wait, in all.
    pub(crate) count: usize,
    /// The question on its way, product by product.
    pub(crate) groups: Vec<Group>,
    places: HashMap<Uuid, usize, RandomState>,
    keys: Arguments,
    arguments: Arguments,
}

impl Statuses {
    /// Whether no request waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.count == 0 && self.groups.is_empty()
    }

    /// Puts a request in line; whether there was a place.
    pub(crate) fn push(&mut self, product: ProductIndex, asker: Asker) -> bool {
        let of_product = self.waiting.get(&product).map_or(0, VecDeque::len);
        if !has_share(of_product, self.count, STATUSES_WAITING_MAX) {
            return false;
        }
        if of_product == 0 {
            self.line.push_back(product);
        }
        self.waiting.entry(product).or_default().push_back(asker);
        self.count += 1;
        true
    }

    /// Makes the next question of the requests that wait; whether there were any.
    pub(crate) fn seal(&mut self, products: &Products, out: &mut Vec<u8>) -> bool {
        assert!(self.groups.is_empty(), "one question at a time");
        self.keys.clear();
        self.arguments.clear();
        let groups = self.line.len().min(GATHERED_SALES_MAX);
        self.arguments.push_number(groups as u64);
        let mut left = STATUS_IDS_MAX;
        for taken in 0..groups {
            let product = self.line.pop_front().expect("as many as were counted");
            // What others leave of their share is for those behind them.
            let ids_max = left / (groups - taken);
            let group = self.take(product, ids_max, products[product].seen());
            left -= group.ids;
            let keys = &products[product].keys;
            self.keys.push(&keys.outbox);
            self.keys.push(&keys.sale);
            self.groups.push(group);
        }
        SCRIPTS.status.write_call(out, &[&self.keys], &[&self.arguments]);
        groups > 0
    }

    /// Takes the requests that wait for orders of a product, up to so many orders.
    fn take(&mut self, product: ProductIndex, ids_max: usize, seen: Seen) -> Group {
        let waiting = self.waiting.get_mut(&product).expect("it stands in line");
        self.places.clear();
        let mut ids = Vec::with_capacity(ids_max.min(waiting.len()));
        let mut asked = Vec::with_capacity(ids.capacity());
        while let Some(asker) = waiting.front() {
            let place = match self.places.get(&asker.id) {
                Some(place) => *place,
                None if ids.len() == ids_max => break,
                None => {
                    self.places.insert(asker.id, ids.len());
                    ids.push(asker.id);
                    ids.len() - 1
                }
            };
            asked.push(Asked { place, asker: waiting.pop_front() });
        }
        self.count -= asked.len();
        if waiting.is_empty() {
            self.waiting.remove(&product);
        } else {
            self.line.push_back(product);
        }
        self.arguments.push_number(ids.len() as u64);
        seen.texts().iter().for_each(|text| self.arguments.push(text.as_bytes()));
        ids.iter().for_each(|id| self.arguments.push(&id.text()));
        Group { ids: ids.len(), asked }
    }

    /// Takes out the requests that are late: `is_late` judges by when they came.
    pub(crate) fn expire(&mut self, is_late: impl Fn(Instant) -> bool, mut expired: impl FnMut(ReplyTo)) {
        for group in &mut self.groups {
            for asked in &mut group.asked {
                if let Some(asker) = asked.asker.take_if(|asker| is_late(asker.since)) {
                    expired(asker.reply_to);
                }
            }
        }
        self.waiting.retain(|_, waiting| {
            while let Some(asker) = waiting.pop_front_if(|asker| is_late(asker.since)) {
                self.count -= 1;
                expired(asker.reply_to);
            }
            !waiting.is_empty()
        });
        self.line.retain(|product| self.waiting.contains_key(product));
    }
}
