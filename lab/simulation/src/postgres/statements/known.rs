//! The list of statements that are known.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sha1::{Digest, Sha1};

use super::Verb::{Begin, Commit, Copy, Declare, Define, Fetch, Insert, Lock, Rollback, Select, Update};
use super::{Known, audit, notes, offsets, orders, rebuild, sales, schema};

macro_rules! file {
    ($name:literal, $digest:literal, $verb:ident, $relations:expr, $plan:path) => {
        Known {
            name: $name,
            text: include_str!(concat!("../../../../../worker/sql/statements/", $name, ".sql")),
            digest: $digest,
            verb: $verb,
            relations: &$relations,
            plan: $plan,
        }
    };
}

macro_rules! literal {
    ($name:literal, $text:expr, $verb:ident, $relations:expr, $plan:path) => {
        Known { name: $name, text: $text, digest: "", verb: $verb, relations: &$relations, plan: $plan }
    };
}

/// All of them.
pub(in super::super) static KNOWN: &[Known] = &[
    file!("audit_dead_letters", "f1e6df71", Select, ["dead_letters"], notes::audit_dead_letters),
    file!("audit_returns", "2b128771", Select, ["returns"], notes::audit_returns),
    file!("audit_sales", "998b13cb", Select, ["sales", "orders", "rejected", "dead_letters", "returns"], audit::sales),
    file!("audit_settled", "c68b15c5", Select, ["orders", "rejected", "returns"], audit::settled),
    file!("audit_unfounded", "cf804083", Select, ["returns"], notes::audit_unfounded),
    file!("claim", "17d7c5aa", Insert, ["offsets"], offsets::claim),
    file!("copy_orders", "5aef6196", Copy, ["orders"], orders::copy),
    file!("end_returns", "cc253798", Update, ["returns"], notes::end_returns),
    file!("fence", "2dd1d863", Update, ["offsets"], offsets::fence),
    file!("known_orders", "1a42a154", Select, ["orders"], orders::known_orders),
    file!("known_rejected", "f7a56139", Select, ["rejected"], orders::known_rejected),
    file!("lock_sales", "981c1d9b", Lock, ["sales"], sales::lock),
    file!("mark_returned", "e2ec35a7", Update, ["returns"], notes::mark_returned),
    file!("note_dead_letters", "93ffbe98", Insert, ["dead_letters"], notes::note_dead_letters),
    file!("note_rejected", "aeddb911", Insert, ["rejected"], notes::note_rejected),
    file!("note_returns", "97c7d07b", Insert, ["returns"], notes::note_returns),
    file!("open_sales", "2c59bb6f", Insert, ["sales"], sales::open),
    file!("order_status", "ac714d1a", Select, ["orders", "rejected"], orders::order_status),
    file!("over_returns", "954e749a", Select, ["returns", "sales", "dead_letters"], notes::over_returns),
    file!("pending_returns", "ab762e6c", Select, ["returns"], notes::pending_returns),
    file!("read_offset", "edc77ef9", Lock, ["offsets"], offsets::read),
    file!("rebuild_absorb", "6bd38e87", Update, ["returns"], notes::rebuild_absorb),
    file!("rebuild_account", "2902b7a7", Lock, ["sales", "dead_letters"], rebuild::account),
    file!("rebuild_close", "e7764958", Update, ["sales"], sales::rebuild_close),
    file!("rebuild_dead_letters", "943df9fe", Declare, ["dead_letters"], rebuild::dead_letters),
    file!("rebuild_earlier", "f1591e59", Select, ["sales", "dead_letters", "returns"], rebuild::earlier),
    file!("rebuild_in_force", "015d926a", Update, ["sales"], sales::rebuild_in_force),
    file!("rebuild_newer_sale", "d5896ab5", Insert, ["sales"], sales::rebuild_newer),
    file!("rebuild_raise", "82b817f3", Update, ["sales"], sales::rebuild_raise),
    file!("rebuild_records", "60222161", Declare, ["orders"], rebuild::records),
    file!("rebuild_rejected", "31e09688", Declare, ["rejected", "orders"], rebuild::rejected),
    file!("rebuild_sale", "0b30c614", Select, ["sales"], rebuild::sale),
    file!("rebuild_users", "25976d87", Declare, ["orders"], rebuild::users),
    file!("rebuild_withdraw", "382144e7", Update, ["sales"], sales::rebuild_withdraw),
    file!("sale_closed", "d6408c98", Update, ["sales"], sales::closed),
    file!("sale_opened", "8af3e054", Update, ["sales"], sales::opened),
    file!("sale_total", "23fba5b8", Update, ["sales"], sales::total),
    file!("sample_order", "fdca001e", Select, ["orders", "sales"], orders::sample),
    file!("settled_returns", "8e1c4613", Select, ["returns"], notes::settled_returns),
    file!("show_stock", "b9622334", Insert, ["products", "sales"], sales::show_stock),
    file!("stray_returns", "c90e0f27", Select, ["returns", "sales"], notes::stray_returns),
    file!("take", "744bfb1f", Insert, ["sales"], sales::take),
    file!("units", "4511d237", Select, ["products", "sales", "rejected", "dead_letters", "returns"], audit::units),
    file!("withdraw_less", "10b011b9", Update, ["sales", "dead_letters", "returns"], sales::withdraw_less),
    Known {
        name: "0001_ledger",
        text: include_str!("../../../../../worker/sql/0001_ledger.sql"),
        digest: "bfc29cd5",
        verb: Define,
        relations: &[],
        plan: schema::create_ledger,
    },
    Known {
        name: "0002_sale_options",
        text: include_str!("../../../../../worker/sql/0002_sale_options.sql"),
        digest: "6f2c3078",
        verb: Define,
        relations: &["sales"],
        plan: schema::add_sale_options,
    },
    Known {
        name: "0003_sale_queue",
        text: include_str!("../../../../../worker/sql/0003_sale_queue.sql"),
        digest: "51f092cd",
        verb: Define,
        relations: &["sales"],
        plan: schema::add_sale_queue,
    },
    Known {
        name: "0004_rebuilds",
        text: include_str!("../../../../../worker/sql/0004_rebuilds.sql"),
        digest: "e985f409",
        verb: Define,
        relations: &["sales"],
        plan: schema::add_raised,
    },
    Known {
        name: "0005_leader_epochs",
        text: include_str!("../../../../../worker/sql/0005_leader_epochs.sql"),
        digest: "0118d328",
        verb: Define,
        relations: &["offsets"],
        plan: schema::add_epochs,
    },
    Known {
        name: "0006_unfounded_returns",
        text: include_str!("../../../../../worker/sql/0006_unfounded_returns.sql"),
        digest: "9138f678",
        verb: Define,
        relations: &["returns"],
        plan: schema::add_return_reason,
    },
    Known {
        name: "0007_late",
        text: include_str!("../../../../../worker/sql/0007_late.sql"),
        digest: "f2f89ce2",
        verb: Define,
        relations: &["sales"],
        plan: schema::add_log_ends,
    },
    // Those that are words of the worker's code: `worker/src/ledger`, `worker/src/rebuild.rs`, `worker/src/oneshot.rs`,
    // `worker/src/audit/gather.rs`.
    literal!("begin", "BEGIN", Begin, [], schema::nothing),
    literal!("begin", "BEGIN ISOLATION LEVEL READ COMMITTED", Begin, [], schema::nothing),
    // What it reads is not held at one moment here.
    literal!("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Begin, [], schema::nothing),
    literal!("commit", "COMMIT", Commit, [], schema::nothing),
    literal!("rollback", "ROLLBACK", Rollback, [], schema::nothing),
    literal!("migration_lock", "SELECT pg_advisory_xact_lock($1)", Select, [], schema::advisory_lock),
    literal!("schema_there", "SELECT to_regclass('flux_schema') IS NOT NULL", Select, [], schema::is_there),
    literal!(
        "create_schema",
        "CREATE TABLE flux_schema (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL \
         DEFAULT now())",
        Define,
        [],
        schema::create_schema
    ),
    literal!(
        "schema_version",
        "SELECT coalesce(max(version), 0) FROM flux_schema",
        Select,
        ["flux_schema"],
        schema::version
    ),
    literal!(
        "note_version",
        "INSERT INTO flux_schema (version, name) VALUES ($1, $2)",
        Insert,
        ["flux_schema"],
        schema::note_version
    ),
    literal!(
        "known_topics",
        "SELECT DISTINCT topic_id FROM offsets WHERE next_offset > 0",
        Select,
        ["offsets"],
        offsets::known_topics
    ),
    literal!(
        "stored_offsets",
        "SELECT partition, next_offset FROM offsets WHERE topic_id = $1",
        Select,
        ["offsets"],
        offsets::of_topic
    ),
    literal!("fetch", "FETCH 5000 FROM rebuilding", Fetch, [], rebuild::fetch),
    literal!(
        "index_state",
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('orders_by_sale')",
        Select,
        [],
        schema::index_state
    ),
    literal!("index_lock", "SELECT pg_try_advisory_lock($1)", Select, [], rebuild::try_index_lock),
    literal!(
        "create_index",
        "CREATE INDEX CONCURRENTLY orders_by_sale ON orders USING brin (sale_id int8_minmax_multi_ops) WITH \
         (pages_per_range = 64, autosummarize = on)",
        Define,
        ["orders"],
        schema::create_index
    ),
    literal!("products_sold", "SELECT DISTINCT product_id FROM sales", Select, ["sales"], audit::products),
    literal!(
        "rebuild_lock",
        "SELECT pg_try_advisory_lock(hashtextextended('flux-rebuild:' || $1, 0))",
        Select,
        [],
        rebuild::try_lock
    ),
];

/// The statement of this text; `None`: it is not known. One whose file has changed since its meaning was written is known only where
/// `with_changed`.
pub(in super::super) fn find(text: &str, with_changed: bool) -> Option<&'static Known> {
    /// Each with whether it has changed.
    static BY_TEXT: LazyLock<BTreeMap<&str, (&Known, bool)>> =
        LazyLock::new(|| KNOWN.iter().map(|known| (known.text, (known, has_changed(known)))).collect());
    let (known, is_changed) = *BY_TEXT.get(text)?;
    (with_changed || !is_changed).then_some(known)
}

fn has_changed(known: &Known) -> bool {
    !known.digest.is_empty() && digest(known.text) != known.digest
}

fn digest(text: &str) -> String {
    Sha1::digest(text)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, digest, has_changed};

    /// Whoever changes a statement writes its new meaning here, and then its new digest.
    #[test]
    fn files_say_what_they_said_when_their_meaning_was_written() {
        let changed = KNOWN.iter().filter(|known| has_changed(known));
        let changed: Vec<_> = changed.map(|known| (known.name, digest(known.text))).collect();
        assert_eq!(changed, [], "their meaning is to be read again");
    }

    #[test]
    fn no_file_is_forgotten() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../worker/sql/statements");
        for file in std::fs::read_dir(folder).expect("the worker's statements") {
            let name = file.expect("a file").file_name().into_string().expect("a name of letters");
            assert!(KNOWN.iter().any(|known| format!("{}.sql", known.name) == name), "{name} is not known");
        }
    }
}
