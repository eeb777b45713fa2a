//! A Redis that answers each kind of call as it is told, or as if all were well.

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;
use flux_protocol::queue::limits::{COHORT_US, TICKS};
use flux_protocol::resp::{Decoder, Limits, Value};
use flux_protocol::time::Instant;

use crate::redis::scripts::SCRIPTS;

pub(super) const SALE_ID: u64 = 1_705_234_700_000;

/// A fair queue and a bucket, as the script would have them.
pub(super) struct FakeQueue {
    /// The watermark: slot and rank.
    pub(super) mark: (u32, u32),
    pub(super) is_free: bool,
    pub(super) tokens: u64,
}

/// How many places the queue has given, and how many visitors it has called.
pub(super) const ISSUED: u64 = 70;
pub(super) const CALLED: u64 = 41;

/// Where Redis' clock stands when the bench's is at zero, µs since the Unix epoch.
pub(super) const EPOCH_US: u64 = 1_705_234_800_000_000;

pub(super) const SEED: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// One command that came: a script's or Redis' own name, then what was sent behind the digest or the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<String>,
}

pub(super) struct Redis {
    pub(super) connected: bool,
    pub(super) asked: Vec<Asked>,
    /// Replies to the next commands of a name, whole RESP values.
    scripted: HashMap<&'static str, VecDeque<String>>,
    /// From the first command of one of these names on nothing is answered.
    pub(super) holds: Vec<&'static str>,
    /// What a refresh says of a product: 15 fields.
    pub(super) sales: HashMap<String, Vec<String>>,
    pub(super) registry: Vec<String>,
    /// When "p" opens; what a refresh says of it follows from this and from `now`.
    pub(super) opens: Instant,
    pub(super) now: Instant,
    /// That of "p", where it has one.
    pub(super) queue: Option<FakeQueue>,
    unanswered: VecDeque<Asked>,
    inbound: BytesMut,
    decoder: Decoder,
    pub(super) to_core: BytesMut,
    entries: u64,
}

impl Redis {
    pub(super) fn new() -> Redis {
        Redis {
            connected: false,
            asked: Vec::new(),
            scripted: HashMap::new(),
            holds: Vec::new(),
            sales: HashMap::new(),
            registry: Vec::new(),
            opens: Instant::default(),
            now: Instant::default(),
            queue: None,
            unanswered: VecDeque::new(),
            inbound: BytesMut::new(),
            decoder: Decoder::new(Limits::DEFAULT),
            to_core: BytesMut::new(),
            entries: 0,
        }
    }

    /// A sale without a limit, known to the registry.
    pub(super) fn open_sale(&mut self, product: &str, units: u64) {
        let (id, units) = (SALE_ID.to_string(), units.to_string());
        let fields = ["open", "", &id, "1", &units, &units, "0", "2", "0", "", "0", "0", "", "0", ""];
        self.sales.insert(product.to_owned(), fields.map(str::to_owned).to_vec());
        self.registry.push(product.to_owned());
    }

    /// From now on "p" has a fair queue, and a rate.
    pub(super) fn make_fair(&mut self, line: FakeQueue) {
        let fields = self.sales.get_mut("p").expect("a sale");
        (fields[6], fields[7], fields[14]) = ("50".to_owned(), "50".to_owned(), SEED.to_owned());
        self.queue = Some(line);
    }

    /// From now on looks find entries from `oldest` to `newest`.
    pub(super) fn stand(&mut self, product: &str, oldest: &str, newest: &str) {
        let fields = self.sales.get_mut(product).expect("a sale");
        fields[8] = if oldest.is_empty() { "0" } else { "2" }.to_owned();
        fields[9] = oldest.to_owned();
        fields[12] = newest.to_owned();
    }

    pub(super) fn script(&mut self, name: &'static str, reply: impl Into<String>) {
        self.scripted.entry(name).or_default().push_back(reply.into());
    }

    /// Commands of a name since the start, or since `asked` was cleared.
    pub(super) fn calls(&self, name: &str) -> Vec<Vec<String>> {
        self.asked.iter().filter(|asked| asked.name == name).map(|asked| asked.arguments.clone()).collect()
    }

    pub(super) fn lose(&mut self) {
        self.connected = false;
        self.unanswered.clear();
        self.inbound.clear();
        self.to_core.clear();
        self.decoder = Decoder::new(Limits::DEFAULT);
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
        while let Some(command) = self.decoder.poll(&mut self.inbound).expect("commands are well-formed") {
            let words = command.items().expect("no error").expect("an array").map(|word| match word {
                Value::Bulk(word) => String::from_utf8(word.to_vec()).expect("text"),
                other => panic!("not an argument: {other:?}"),
            });
            let asked = read(words.collect());
            self.asked.push(asked.clone());
            self.unanswered.push_back(asked);
        }
    }

    /// Whether there are answers to be read.
    pub(super) fn answer(&mut self) -> bool {
        let mut answered = false;
        while self.unanswered.front().is_some_and(|asked| !self.holds.contains(&asked.name)) {
            let asked = self.unanswered.pop_front().expect("it was there just now");
            let reply = match self.scripted.get_mut(asked.name).and_then(VecDeque::pop_front) {
                Some(reply) => reply,
                None => self.usual(&asked),
            };
            self.to_core.extend_from_slice(reply.as_bytes());
            answered = true;
        }
        answered
    }

    fn usual(&mut self, asked: &Asked) -> String {
        match asked.name {
            "page" => self.page(asked),
            "forget" => {
                let keys: usize = asked.arguments[0].parse().expect("a number");
                let names = &asked.arguments[1 + keys + 2..];
                let verdicts: Vec<String> = names.iter().map(|name| self.judge(name).to_owned()).collect();
                array(&verdicts)
            }
            "refresh" => {
                let products = asked.arguments.iter().filter_map(|key| key.strip_suffix(":sale"));
                let products = products.map(|key| key.trim_start_matches("product:{").trim_end_matches('}'));
                array(&products.flat_map(|product| self.seen(product)).collect::<Vec<_>>())
            }
            "reserve" => {
                let keys: usize = asked.arguments[0].parse().expect("a number");
                let groups: usize = asked.arguments[1 + keys].parse().expect("a number");
                let heads = (0..groups).map(|_| {
                    self.entries += 1;
                    format!("A1705234800000-{}", self.entries)
                });
                array(&heads.collect::<Vec<_>>())
            }
            "lease" => self.leased(asked),
            "probe" => array(&[(EPOCH_US + self.now.as_micros()).to_string()]),
            "relay" => array(&[]),
            // Nobody has a record.
            "replay_lookup" => array(&groups(asked, 4, 1).map(|_| "0 ".to_owned()).collect::<Vec<_>>()),
            "status" => array(&groups(asked, 3, 0).map(|ids| "-".repeat(ids)).collect::<Vec<_>>()),
            // A sale without a line.
            "queue" => array(&["open", "1", SEED, "50", "100", "1705234800000000", "0"].map(str::to_owned)),
            "split_entry" => bulk(""),
            "XDEL" | "settle" | "retire" | "EXISTS" | "SADD" => ":1\r\n".to_owned(),
            "SELECT" | "SCRIPT" => "+OK\r\n".to_owned(),
            "identity" => {
                let (id, zeros) = ("a".repeat(40), "0".repeat(40));
                bulk(&format!("run_id:{id}\r\nrole:master\r\nmaster_replid:{id}\r\nmaster_replid2:{zeros}\r\n"))
            }
            "INFO" | "CONFIG" => "-NOPERM this user has no permissions to run the command\r\n".to_owned(),
            other => panic!("what to say to {other}?"),
        }
    }

    fn leased(&mut self, asked: &Asked) -> String {
        let now_us = EPOCH_US + self.now.as_micros();
        if asked.arguments[0] == "3" {
            // A bucket that is never empty.
            return format!("*4\r\n:{}\r\n:200000\r\n:0\r\n$1\r\nO\r\n", asked.arguments[4]);
        }
        let line = self.queue.as_mut().expect("a sale with a fair queue");
        let wanted: u64 = asked.arguments[5].parse().expect("a number");
        let granted = wanted.min(line.tokens);
        line.tokens -= granted;
        let due = if line.tokens == 0 { 20_000 } else { 0 };
        let opens_us = EPOCH_US + self.opens.as_micros();
        let (slot, rank) = line.mark;
        let mut numbers = vec![now_us, opens_us, slot.into(), rank.into(), line.is_free.into()];
        numbers.extend([ISSUED, CALLED, now_us / COHORT_US]);
        // All who were called were called in this tick.
        for place in 0..TICKS as u64 {
            let is_this = place == now_us / COHORT_US % TICKS as u64;
            numbers.extend(if is_this { [0, 0] } else { [u64::from(slot), u64::from(rank)] });
        }
        let numbers: String = numbers.iter().map(|number| format!(":{number}\r\n")).collect();
        let state = if self.sales["p"][5] == "0" { "0" } else { "O" };
        format!("*30\r\n:{granted}\r\n:200000\r\n:{due}\r\n{}{numbers}", bulk(state))
    }

    /// What a refresh of "p" alone says now.
    pub(super) fn refresh_of_p(&self) -> String {
        array(&self.seen("p"))
    }

    /// A page of the registry; the cursor is the place it begins at.
    fn page(&self, asked: &Asked) -> String {
        let number = |at: usize| asked.arguments[at].parse::<usize>().expect("a number");
        let (from, count) = (number(2), number(3));
        let end = self.registry.len().min(from + count);
        let cursor = if end == self.registry.len() { 0 } else { end };
        let names = self.registry[from.min(end)..end].iter().cloned();
        array(&std::iter::once(cursor.to_string()).chain(names).collect::<Vec<_>>())
    }

    /// As the script does; a closed sale is over for long where its reason says so.
    fn judge(&mut self, name: &str) -> &'static str {
        let verdict =
            match self.sales.get(name).map(|fields| (fields[0].as_str(), fields[1].as_str(), fields[8].as_str())) {
                None | Some(("closed", "long ago", "0")) => "G",
                Some(("closed", _, "0")) => "C",
                Some(_) => "K",
            };
        if verdict == "G" {
            self.registry.retain(|listed| listed != name);
        }
        verdict
    }

    fn seen(&self, product: &str) -> Vec<String> {
        let Some(mut fields) = self.sales.get(product).cloned() else {
            return ["unknown"].into_iter().chain([""; 14]).map(str::to_owned).collect();
        };
        let left = self.opens.since(self.now).as_micros().div_ceil(1000);
        if product == "p" && left > 0 {
            fields[0] = "scheduled".to_owned();
            fields[13] = left.to_string();
        }
        fields
    }
}

fn read(mut words: Vec<String>) -> Asked {
    const NAMES: [&str; 10] = ["SELECT", "SCRIPT", "EXISTS", "XDEL", "SADD", "HMGET", "INFO", "CONFIG", "AUTH", "PING"];
    let s = &SCRIPTS;
    let scripts = [
        ("reserve", &s.reserve),
        ("lease", &s.lease),
        ("refresh", &s.refresh),
        ("probe", &s.probe),
        ("init", &s.init),
        ("close", &s.close),
        ("relay", &s.relay),
        ("retire", &s.retire),
        ("forget", &s.forget),
        ("page", &s.page),
        ("settle", &s.settle),
        ("split_entry", &s.split_entry),
        ("status", &s.status),
        ("queue", &s.queue),
        ("replay_lookup", &s.replay_lookup),
    ];
    let command = words.remove(0);
    if command == "EVALSHA" {
        let digest = words.remove(0);
        let found = scripts.iter().find(|(_, script)| script.digest() == digest.as_bytes());
        let (name, _) = found.expect("a script of ours");
        return Asked { name, arguments: words };
    }
    if command == "INFO" && !words.is_empty() {
        return Asked { name: "identity", arguments: words };
    }
    let name = NAMES.iter().find(|name| **name == command).expect("a command that is known");
    Asked { name, arguments: words }
}

/// How many ids each group of a `lookup` or `status` call names; the count stands at the end of a head of so many words.
fn groups(asked: &Asked, head: usize, count_at: usize) -> impl Iterator<Item = usize> {
    let number = |at: usize| asked.arguments[at].parse::<usize>().expect("a number");
    let mut at = 1 + number(0);
    let count = number(at);
    at += 1;
    let groups: Vec<usize> = (0..count)
        .map(|_| {
            let ids = number(at + count_at);
            at += head + ids;
            ids
        })
        .collect();
    assert_eq!(at, asked.arguments.len(), "nothing stands behind the last id");
    groups.into_iter()
}

pub(super) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

pub(super) fn array(texts: &[String]) -> String {
    let items: String = texts.iter().map(|text| bulk(text)).collect();
    format!("*{}\r\n{items}", texts.len())
}
