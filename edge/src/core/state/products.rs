//! The table of one core's products, and the names it knows to be unknown.
//!
//! A place in it is given back when its product leaves, and a [`ProductIndex`] names one product for good: never the
//! next one in its place. A product that leaves loses its name at once, so that nothing new can refer to it, and its
//! place only when nothing under way refers to it any more (`leaving.rs`). Never asks Redis.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use flux_protocol::fence::{Refusal, Replid};
use flux_protocol::order::Identifier;
use flux_protocol::time::Instant;
use foldhash::fast::RandomState;

use crate::core::state::board::Board;
use crate::core::state::product::Product;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::standing::Torn;
use crate::limits::{LEFT_PRODUCTS_MAX, PRODUCTS_MAX, PRODUCTS_SWEPT_MAX, UNKNOWN_NAMES_MAX};
use crate::sale::{Sale, Seen};
use crate::slab::Slab;

#[derive(Debug)]
struct Known {
    product: Product,
    /// Its name leads to it.
    is_named: bool,
}

#[derive(Debug, Default)]
pub struct Products {
    all: Slab<Known>,
    by_name: HashMap<Box<[u8]>, ProductIndex, RandomState>,
    unknown: HashMap<Identifier, Instant, RandomState>,
    /// Products without a name, and since when, the oldest first.
    left: VecDeque<(Instant, ProductIndex)>,
    /// The place at which the search for one that may leave goes on.
    swept: usize,
    board: Arc<Board>,
}

impl Products {
    /// An empty table, beside those of the process' other cores.
    pub fn new(board: Arc<Board>) -> Products {
        Products { board, ..Products::default() }
    }

    /// What the cores tell each other.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// The fence by which this process may sell this generation of a product's sale now: `None` where it is sold under none.
    ///
    /// # Errors
    /// [`Refusal`]: it may not.
    pub(crate) fn fence(
        &self,
        now: Instant,
        index: ProductIndex,
        (sale_id, generation): (u64, u32),
    ) -> Result<Option<Replid>, Refusal> {
        let product = &self[index];
        if !product.is_fenced {
            return Ok(None);
        }
        if !self.board.fences.is_current(now) {
            return Err(Refusal::NotCurrent);
        }
        // Whoever is just being told of another fence asks again.
        let standing = product.sight.standing().map_err(|Torn| Refusal::NotCurrent)?.ok_or(Refusal::NoFence)?;
        standing.permits(sale_id, generation, &standing.replid).map(|()| Some(standing.replid))
    }

    /// Whether a fence is known above this generation of a product's sale: nothing that comes of it is told as certain.
    pub(crate) fn is_fenced_off(&self, index: ProductIndex, sale: (u64, u32)) -> bool {
        match self[index].sight.standing() {
            Ok(None) => false,
            Ok(Some(standing)) => (standing.sale_id, standing.generation) > sale,
            Err(Torn) => true,
        }
    }

    /// What a script is told that acts on a product's sale as it was last seen: with the fence, where it is obeyed.
    pub(crate) fn seen_obeying(&self, now: Instant, index: ProductIndex) -> Seen {
        let product = &self[index];
        let of_sale = |sale: Sale| self.fence(now, index, (sale.id, sale.generation)).ok().flatten();
        product.seen().obeying(product.sale.and_then(of_sale))
    }

    /// The product of that name, if it is in memory.
    pub fn find(&self, name: &[u8]) -> Option<ProductIndex> {
        self.by_name.get(name).copied()
    }

    /// The product of that name, if a sale of it was ever seen. A name that only stands in the registry is asked for.
    pub fn known(&self, name: &[u8]) -> Option<ProductIndex> {
        self.find(name).filter(|index| self[*index].sale.is_some())
    }

    /// The product of that name, made if need be. Where the table is full, one leaves it that no request has asked for
    /// in long; `None` where none may.
    pub fn insert(&mut self, now: Instant, name: Identifier) -> Option<ProductIndex> {
        if let Some(index) = self.find(name.as_bytes()) {
            return Some(index);
        }
        if self.len() >= PRODUCTS_MAX && !self.make_room(now) {
            return None;
        }
        self.insert_if_room(now, name)
    }

    /// The same, but no other product leaves for it.
    pub fn insert_if_room(&mut self, now: Instant, name: Identifier) -> Option<ProductIndex> {
        if let Some(index) = self.find(name.as_bytes()) {
            return Some(index);
        }
        if self.len() >= PRODUCTS_MAX {
            return None;
        }
        let mut product = Product::new(name, self.board.sight(name));
        // Not the one to leave next.
        product.refresh.last_asked = now;
        let index = ProductIndex(self.all.insert(Known { product, is_named: true }));
        self.by_name.insert(name.as_bytes().into(), index);
        self.unknown.remove(&name);
        Some(index)
    }

    fn make_room(&mut self, now: Instant) -> bool {
        for _ in 0..PRODUCTS_SWEPT_MAX {
            self.swept = (self.swept + 1) % self.all.places();
            if let Some(index) = self.named_at(self.swept)
                && self[index].may_leave(now)
            {
                return self.leave(now, index);
            }
        }
        false
    }

    /// Takes a product's name from it: from now on only what is under way finds it. Whether that could be done; the caller
    /// asks [`Product::may_leave`] first.
    pub fn leave(&mut self, now: Instant, index: ProductIndex) -> bool {
        if self.left.len() >= LEFT_PRODUCTS_MAX {
            return false;
        }
        let name = self[index].name;
        self.by_name.remove(name.as_bytes());
        self.known_mut(index).is_named = false;
        self.left.push_back((now, index));
        true
    }

    /// The product that left first, and when.
    pub fn first_left(&self) -> Option<(Instant, ProductIndex)> {
        self.left.front().copied()
    }

    /// The product that left first gives its place back, or where something still refers to it is kept on.
    pub fn end_first_left(&mut self, now: Instant, is_referred_to: bool) {
        let Some((_, index)) = self.left.pop_front() else { return };
        if is_referred_to {
            return self.left.push_back((now, index));
        }
        self.all.remove(index.0);
    }

    fn known_mut(&mut self, index: ProductIndex) -> &mut Known {
        self.all.get_mut(index.0).expect("a product stays while something refers to it")
    }

    /// How many products are known.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places, of products and free ones.
    pub fn places(&self) -> usize {
        self.all.places()
    }

    /// The product at a place, unless it is free or its product has left.
    pub fn named_at(&self, place: usize) -> Option<ProductIndex> {
        let (key, _) = self.all.at(place).filter(|(_, known)| known.is_named)?;
        Some(ProductIndex(key))
    }

    /// Every product, in the order of their places.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = ProductIndex> {
        (0..self.places()).filter_map(|place| self.named_at(place))
    }

    /// Remembers until `until` that Redis does not know the name.
    pub fn remember_unknown(&mut self, now: Instant, name: Identifier, until: Instant) {
        if self.unknown.len() >= UNKNOWN_NAMES_MAX {
            self.unknown.retain(|_, until| now < *until);
        }
        if self.unknown.len() < UNKNOWN_NAMES_MAX {
            self.unknown.insert(name, until);
        }
    }

    /// Whether Redis said a moment ago that it does not know the name.
    pub fn is_unknown(&self, now: Instant, name: &Identifier) -> bool {
        self.unknown.get(name).is_some_and(|until| now < *until)
    }
}

impl std::ops::Index<ProductIndex> for Products {
    type Output = Product;
    fn index(&self, index: ProductIndex) -> &Product {
        &self.all.get(index.0).expect("a product stays while something refers to it").product
    }
}

impl std::ops::IndexMut<ProductIndex> for Products {
    fn index_mut(&mut self, index: ProductIndex) -> &mut Product {
        &mut self.known_mut(index).product
    }
}
