//! How a core learns of sales, and forgets them.

pub(crate) mod discover;
pub(crate) mod leaving;
pub(crate) mod observe;
pub(crate) mod refresh;
pub(crate) mod registry;
pub(crate) mod retire;
