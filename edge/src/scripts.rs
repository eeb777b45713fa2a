//! The Lua scripts of the edge, embedded. What each takes and answers stands in the head of its own file under `lua/`.

use std::sync::LazyLock;

use flux_protocol::resp::Script;

macro_rules! script {
    ($name:ident, $file:literal, [$($prelude:literal),*], $what:literal) => {
        #[doc = $what]
        pub static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(
                include_str!(concat!("../lua/", $file, ".lua")),
                &[$(include_str!(concat!("../lua/", $prelude, ".lua"))),*],
            )
        });
    };
}

script!(RESERVE, "reserve", ["trust", "outbox"], "Takes units for a batch of orders.");
script!(LEASE, "lease", ["trust"], "Takes tokens of a sale's bucket.");
script!(LOOK, "look", ["trust", "outbox"], "Says how sales stand, and whether Redis can be trusted with them.");
script!(INIT, "init", ["trust"], "Opens a sale.");
script!(CLOSE, "close", ["trust"], "Closes a sale.");
script!(RELAY, "relay", ["trust"], "Leases outbox entries that nobody delivered.");
script!(SETTLE, "settle", [], "Deletes relayed entries with their claims.");
script!(STATUS, "status", ["trust"], "Says how far an order is.");

/// Every script, loaded whenever a connection opens or Redis has forgotten one.
pub fn all() -> impl Iterator<Item = &'static Script> {
    [&RESERVE, &LEASE, &LOOK, &INIT, &CLOSE, &RELAY, &SETTLE, &STATUS].into_iter().map(|script| &**script)
}
