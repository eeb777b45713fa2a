//! Everything that edge and worker ask Redis, and what makes its answer one that may decide a client's fate.
//!
//! A Redis that lost data, was replaced, or follows another one must not tell anybody anything for good. So each script
//! proves first that this is the Redis that opened the sale (`believe`, with `master_replid`), and that what it is about
//! to read is there and of this sale and generation (the mark). What does neither stands here with the reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why an answer is believed, or need not be.
enum Belief {
    /// The script makes the trust check and looks at a mark, or at what stands in the sale itself.
    Proved {
        /// How it makes sure that what it reads was not lost.
        by: &'static str,
    },
    /// No client's fate follows from it.
    NoFate(&'static str),
}
use Belief::{NoFate, Proved};

const EDGE: [(&str, Belief); 15] = [
    ("reserve", Proved { by: "broken(sale, outbox, claims, users, returned)" }),
    ("replay_lookup", Proved { by: "found[1] ~= mark" }),
    ("status", Proved { by: "found[1] ~= sale[1] .. ' ' .. sale[2]" }),
    ("lease", Proved { by: "bucket[1] == sale[1] .. ' ' .. sale[2]" }),
    ("refresh", Proved { by: "broken(sale, unpack(KEYS, k + 3, k + 9))" }),
    ("queue", Proved { by: "units(sale, stock_key)" }),
    ("init", Proved { by: "broken(sale, unpack(KEYS, 3, 9))" }),
    ("close", Proved { by: "broken(sale, unpack(KEYS, 3, 9))" }),
    ("probe", NoFate("decides whether the edge is ready, and dates orders; no order's fate")),
    ("relay", Proved { by: "redis.pcall('HGET', claims, '.') ~= sale[1] .. ' ' .. sale[2]" }),
    ("retire", Proved { by: "mark == sale[1] .. ' ' .. sale[2]" }),
    ("forget", Proved { by: "broken(sale, unpack(KEYS, k + 3, k + 9))" }),
    ("page", NoFate("the registry, an index: a name that it lacks is asked for by a refresh")),
    ("split_entry", Proved { by: "redis.pcall('HGET', claims, '.') ~= sale[1] .. ' ' .. sale[2]" }),
    ("settle", NoFate("takes out entries that Kafka acknowledged: whatever stays is delivered once more")),
];
const WORKER: [(&str, Belief); 5] = [
    ("returns", Proved { by: "broken(sale, unpack(KEYS, 3, 6))" }),
    ("rebuild_fence", NoFate("begins a rebuild, which believes ledger and topic alone")),
    ("rebuild_restore", NoFate("ends it: binds the sale to this Redis, by the ledger")),
    ("suspend", NoFate("only ever stops a sale")),
    ("lost", NoFate("only ever stops a product of which nothing is there")),
];
/// Commands that are no scripts, of edge and worker, and words of theirs.
const COMMANDS: [(&str, &str); 21] = [
    ("AUTH", "the login"),
    ("CONFIG", "warns an operator"),
    ("COUNT", "a word of XRANGE"),
    ("EVALSHA", "a script"),
    ("EXISTS", "whether there is a registry: 404 only behind a refresh that proved the name unknown, else 503"),
    ("EXEC", "the end of MULTI"),
    ("GET", "figures for an operator: audit, `flux_units`"),
    ("HGETALL", "what a rebuild finds in a Redis that it does not believe; audit"),
    ("HMGET", "the same; whether a sale is one the worker knows"),
    ("HSET", "a rebuild writes what the ledger holds"),
    ("INCRBY", "a planted bug"),
    ("INFO", "the version; warns an operator; whether a rebuild may begin by itself"),
    ("LOAD", "a script"),
    ("MULTI", "audit reads what belongs together"),
    ("SADD", "puts a name back into the registry, which is an index"),
    ("SCRIPT", "a script"),
    ("SELECT", "the login"),
    ("SMEMBERS", "the registry, an index: a name that it lacks is asked for by a refresh"),
    ("SSCAN", "the same, by pages"),
    ("XDEL", "takes out an entry that Kafka acknowledged"),
    ("XRANGE", "what a rebuild finds in an outbox, and publishes under the ids it has; audit"),
];
/// Redis' commands that somebody may come to ask.
const OF_REDIS: [&str; 20] = [
    "DEL",
    "EVAL",
    "GETEX",
    "HDEL",
    "HGET",
    "HINCRBY",
    "HLEN",
    "MGET",
    "SET",
    "SISMEMBER",
    "SMISMEMBER",
    "TIME",
    "XADD",
    "XLEN",
    "XREVRANGE",
    "ROLE",
    "SCAN",
    "TYPE",
    "WAIT",
    "TTL",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn scripts(folder: &str) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(root().join(folder)).expect("a folder").map(|file| file.expect("a file").path());
    let texts = files.map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("text"))
    });
    // What is put in front of others is no script.
    texts.filter(|(_, text)| text.starts_with("#!lua")).collect()
}

#[test]
fn every_script_makes_the_trust_check_and_looks_at_what_would_be_lost_or_says_why_not() {
    for (folder, listed) in [("edge/lua", &EDGE[..]), ("worker/lua", &WORKER[..])] {
        let texts = scripts(folder);
        let names: Vec<&str> = texts.keys().map(String::as_str).collect();
        let mut known: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(names, known, "{folder}: a script that is not listed here, or gone");
        for (name, belief) in listed {
            let text: String = texts[*name].lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            match belief {
                Proved { by } => {
                    assert!(text.contains("believe("), "{name} makes no trust check");
                    assert!(text.contains(by), "{name} does not look at {by:?}");
                }
                NoFate(why) => assert!(!why.is_empty()),
            }
        }
    }
}

#[test]
fn every_command_is_listed() {
    let mut found = BTreeMap::new();
    for folder in ["edge/src", "worker/src"] {
        visit(&root().join(folder), &mut |path, text| {
            // b"WORD" in capitals is a command or a part of one; tests of a wire in the same file do no harm.
            for word in text.split("b\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                if word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase()) {
                    found.entry(word.to_owned()).or_insert_with(|| path.to_owned());
                }
            }
        });
    }
    for (word, path) in &found {
        let is_listed = COMMANDS.iter().any(|(command, _)| command == word);
        assert!(is_listed || !OF_REDIS.contains(&word.as_str()), "{word} in {} is not listed here", path.display());
    }
    assert!(found.contains_key("XDEL") && found.contains_key("EXISTS"), "the walk sees what there is");
}

fn visit(folder: &Path, see: &mut impl FnMut(&Path, &str)) {
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                visit(&path, see);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            see(&path, &std::fs::read_to_string(&path).expect("text"));
        }
    }
}
