//! What the programs tell a world that watches them, where nothing that leaves a process would show it in time.
//!
//! Without the feature `planted-bugs` nobody watches: [`Bucket`] holds nothing, and what it is told is nothing that the compiler
//! keeps. The simulation hears it, in the thread that it runs in.

#[cfg(feature = "planted-bugs")]
mod watching {
    use std::cell::RefCell;

    use crate::time::Instant;

    /// A token that was spent, or given back.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Token {
        /// When.
        pub at: Instant,
        /// Of which product.
        pub product: String,
        /// And sale.
        pub sale_id: u64,
        /// It was given back: nothing was sold for it.
        pub is_back: bool,
    }

    thread_local! {
        static TOKENS: RefCell<Vec<Token>> = const { RefCell::new(Vec::new()) };
    }

    /// What was told in this thread since it was last asked for.
    #[must_use]
    pub fn tokens() -> Vec<Token> {
        TOKENS.take()
    }

    /// Whose tokens a lease holds.
    #[derive(Clone, Debug, Default)]
    pub struct Bucket(Option<(String, u64)>);

    impl Bucket {
        /// Of this product's sale.
        #[must_use]
        pub fn of(product: &str, sale_id: u64) -> Bucket {
            Bucket(Some((product.to_owned(), sale_id)))
        }

        /// A token of it was spent.
        pub fn spent(&self, now: Instant) {
            self.tell(now, false);
        }

        /// A token was given back.
        pub fn given_back(&self, now: Instant) {
            self.tell(now, true);
        }

        fn tell(&self, at: Instant, is_back: bool) {
            if let Some((product, sale_id)) = self.0.clone() {
                TOKENS.with_borrow_mut(|tokens| tokens.push(Token { at, product, sale_id, is_back }));
            }
        }
    }
}

#[cfg(feature = "planted-bugs")]
pub use watching::{Bucket, Token, tokens};

#[cfg(not(feature = "planted-bugs"))]
mod unwatched {
    use crate::time::Instant;

    /// Whose tokens a lease holds: nobody asks.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Bucket;

    impl Bucket {
        /// Of this product's sale.
        #[inline(always)]
        #[must_use]
        pub const fn of(_product: &str, _sale_id: u64) -> Bucket {
            Bucket
        }

        /// A token of it was spent.
        #[inline(always)]
        pub const fn spent(&self, _now: Instant) {}

        /// A token was given back.
        #[inline(always)]
        pub const fn given_back(&self, _now: Instant) {}
    }
}

#[cfg(not(feature = "planted-bugs"))]
pub use unwatched::Bucket;
