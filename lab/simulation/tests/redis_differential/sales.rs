//! The scripts that ship, as edge and worker call them, over two products; and the same with keys damaged, memory full,
//! roles changed.

use flux_simulation::random::Random;

use crate::commands::everything;
use crate::mask::{entry, sale};
use crate::scripts::{EDGE, WORKER, call, load};
use crate::{Step, ask};

const PRODUCTS: [&str; 2] = ["p", "q"];
const NAMES: [&str; 9] = ["stock", "sale", "outbox", "claims", "users", "returned", "rate", "sales", "queue"];
const ORDERS: u64 = 24;
/// Answers nothing that depends on how many there were.
const DROP_RUN_OUT_CLAIMS: &str = "\
local all, time = redis.pcall('HGETALL', KEYS[1]), redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #all, 2 do
  local claimed_until = all[i] ~= '.' and tonumber(string.match(all[i + 1], ' (%d+)$') or 0)
  if claimed_until and claimed_until <= now then
    redis.pcall('HDEL', KEYS[1], all[i])
  end
end
return 0";

fn key(product: &str, name: &str) -> String {
    format!("product:{{{product}}}:{name}")
}

fn keys(product: &str) -> Vec<String> {
    NAMES.map(|name| key(product, name)).to_vec()
}

/// The key of a sale's records.
fn records(product: &str, sale: &str) -> String {
    format!("idempotency:{{{product}}}:{sale}")
}

/// What the generator believes; it need not be right, for both sides are asked the same.
struct Generator<'a> {
    random: &'a mut Random,
    steps: Vec<Step>,
    generations: [u64; 2],
    reservations: u64,
    /// Product, order and reservation of what was asked for; it may have been refused, or be an earlier sale's.
    asked: Vec<(usize, u64, u64)>,
    /// Entries there may be.
    entries: u64,
    /// A relay clears claims that ran out away, looking at twice as many as it takes, drawn at random: either none runs
    /// out, or it looks at all of them.
    claims_run_out: bool,
}

pub(crate) fn sequence(random: &mut Random) -> Vec<Step> {
    Generator::begin(random).go_on(70, 0)
}

/// With damage and faults in between.
pub(crate) fn broken_sequence(random: &mut Random) -> Vec<Step> {
    Generator::begin(random).go_on(70, 200)
}

impl Generator<'_> {
    fn begin(random: &mut Random) -> Generator<'_> {
        let steps = load().collect();
        let claims_run_out = random.per_mille(500);
        let mut generator = Generator {
            random,
            steps,
            generations: [1; 2],
            reservations: 0,
            asked: vec![],
            entries: 0,
            claims_run_out,
        };
        generator.init(0);
        generator.init(1);
        generator
    }

    fn go_on(mut self, count: u64, faults_per_mille: u64) -> Vec<Step> {
        for _ in 0..count {
            if self.random.per_mille(faults_per_mille) {
                self.fault();
            } else {
                self.step();
            }
        }
        self.steps.extend([Step::Full(false), Step::Replica(false), ask(&["DBSIZE"])]);
        for product in PRODUCTS {
            let of_sales = (0..3).map(|before| records(product, &sale(product, before)));
            for name in keys(product).into_iter().chain(of_sales) {
                // Its bucket was filled at another time on each side: `at` is masked, the tokens are what a lease says.
                self.steps.extend(everything(&name));
            }
        }
        self.steps
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[usize::try_from(self.random.below(from.len() as u64)).expect("small")]
    }

    fn product(&mut self) -> usize {
        usize::try_from(self.below(2)).expect("small")
    }

    /// Mostly the latest sale.
    fn sale_of(&mut self, product: usize) -> String {
        match self.below(12) {
            0 => sale(PRODUCTS[product], 1),
            1 => self.pick(&["1", "9999999999999"]).to_owned(),
            _ => sale(PRODUCTS[product], 0),
        }
    }

    /// The latest that a caller has seen, if any; now and then later than what is held.
    fn seen(&mut self, product: usize) -> [String; 2] {
        if self.random.per_mille(300) {
            return Default::default();
        }
        [sale(PRODUCTS[product], 0), self.generation_of(product)]
    }

    fn generation_of(&mut self, product: usize) -> String {
        (self.generations[product] + u64::from(self.below(12) == 0)).to_string()
    }

    fn an_entry(&mut self) -> String {
        let end = self.entries + 2;
        // The later ones are likelier to be there still.
        entry(usize::try_from(self.below(end).max(self.random.below(end))).expect("small"))
    }

    fn step(&mut self) {
        match self.below(31) {
            0 => {
                let product = self.product();
                self.init(product);
            }
            1..=10 => self.reserve(),
            11..=12 => self.lease(),
            13..=14 => self.look(),
            15..=17 => self.relay(),
            18 => self.part(),
            19 => self.settle(),
            20..=21 => self.status(),
            22 => self.close(),
            23..=24 => self.returns(),
            25 => self.rebuild(),
            26 => self.remove_entry(),
            27 => self.look_up(),
            28 => self.audit(),
            29 => self.retire(),
            _ => {
                let ms = self.below(3);
                self.steps.push(Step::Wait(ms));
            }
        }
    }

    fn init(&mut self, product: usize) {
        let arguments = [
            self.pick(&["5", "20", "100"]),
            self.pick(&["0", "0", "50", "1000000"]),
            self.pick(&["100", "60"]),
            self.pick(&["0", "1", "1"]),
            self.pick(&["", "\u{1}R\u{2}", "\u{1}R\u{2}", "0123"]),
            "5e5e",
            self.pick(&["0", "0", "3"]),
            self.pick(&["0", "0", "0", "4102444800000"]),
            self.pick(&["retry", "retry", "fair"]),
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.truncate(if self.random.per_mille(100) { 6 } else { 9 });
        // Nothing else happens in the millisecond that names a sale: what is equal by chance on one side would not be so on
        // the other.
        self.steps.push(Step::Wait(2));
        self.steps.push(call(&EDGE.init, &keys(PRODUCTS[product]), &arguments));
        self.steps.push(Step::Wait(2));
        self.generations[product] = 1;
        self.set_apart(product);
        self.steps.push(ask(&["HMGET", &key(PRODUCTS[product], "sale"), "id", "gen", "state", "total"]));
    }

    /// Entries of the second product get ids of a far future, so that two products never have entries of one id.
    fn set_apart(&mut self, product: usize) {
        if product == 1 {
            let outbox = key(PRODUCTS[1], "outbox");
            self.steps.push(ask(&["XADD", &outbox, "NOMKSTREAM", "8000000000000-1", "h", "x"]));
            self.steps.push(ask(&["XDEL", &outbox, "8000000000000-1"]));
        }
    }

    fn reserve(&mut self) {
        let groups = 1 + self.below(2);
        let most = self.pick(&["100000", "100000", "6"]).to_owned();
        let (mut call_keys, mut arguments) = (Vec::new(), vec![groups.to_string(), most]);
        for _ in 0..groups {
            let product = self.product();
            let count = 1 + self.below(8);
            let of_sale = self.sale_of(product);
            call_keys.extend(keys(PRODUCTS[product]).into_iter().take(6));
            call_keys.push(records(PRODUCTS[product], &of_sale));
            arguments.extend([count.to_string(), of_sale, self.generation_of(product), "3".to_owned()]);
            let shared = self.random.per_mille(500).then(|| self.pick(&["1", "1", "2"]));
            arguments.push(shared.unwrap_or_default().to_owned());
            let mut quantities = Vec::new();
            for place in 1..=count {
                let order = self.below(ORDERS);
                if self.random.per_mille(800) {
                    self.reservations += 1;
                }
                self.asked.push((product, order, self.reservations));
                let quantity = shared.unwrap_or_else(|| self.pick(&["1", "1", "2", "5"]));
                let end = if place < count { "\n" } else { "" };
                arguments.extend([format!("r{} {quantity} ", self.reservations), format!("o{order}")]);
                arguments.push(format!(" u{} 1705234800123{end}", order % 4));
                quantities.push(quantity.to_owned());
            }
            arguments.extend(quantities.into_iter().filter(|_| shared.is_none()));
        }
        self.entries += groups;
        self.steps.push(call(&EDGE.reserve, &call_keys, &arguments));
    }

    /// The bucket is put where its time cannot matter: long empty of news, or in the future.
    fn lease(&mut self) {
        let number = self.product();
        let product = PRODUCTS[number];
        let tokens = self.pick(&["0", "999999", "5000000", "31415926"]);
        let at = self.pick(&["1", "9999999999999999"]);
        self.steps.push(ask(&["HSET", &key(product, "rate"), "tokens", tokens, "at", at]));
        let mut arguments =
            vec![self.pick(&["1", "7", "1000"]).to_owned(), self.pick(&["1000", "200000", "9999999"]).to_owned()];
        arguments.extend(self.seen(number));
        self.steps.push(call(&EDGE.lease, &["rate", "sale", "stock"].map(|name| key(product, name)), &arguments));
        self.steps.push(ask(&["HGET", &key(product, "rate"), "tokens"]));
    }

    fn look(&mut self) {
        let looked = if self.random.per_mille(500) { vec!["p"] } else { vec!["p", "nobody", "q"] };
        let looked: Vec<String> = looked.into_iter().flat_map(keys).collect();
        let fresh = self.pick(&["0", "1"]).to_owned();
        self.steps.push(call(&EDGE.refresh, &looked, &[fresh]));
    }

    fn relay(&mut self) {
        let product = PRODUCTS[self.product()];
        let edge = self.pick(&["a", "b"]);
        let horizon = self.pick(&["0", "0", "3600000"]);
        let (leases, mosts) =
            if self.claims_run_out { (["60000", "0"], ["40", "40", "40"]) } else { (["60000"; 2], ["1", "2", "10"]) };
        let (lease, most) = (self.pick(&leases), self.pick(&mosts));
        let mut arguments: Vec<String> = [edge, horizon, lease, most].map(str::to_owned).to_vec();
        if self.random.per_mille(500) {
            arguments.push(if self.random.per_mille(500) { self.an_entry() } else { String::new() });
        }
        let call_keys = ["outbox", "claims", "sale"].map(|name| key(product, name));
        // Entries are not of the millisecond in which they are asked for.
        self.steps.push(Step::Wait(2));
        self.steps.push(call(&EDGE.relay, &call_keys, &arguments));
        // Of the claims that have run out it takes some away, whichever: here the rest goes as well, so that what is left
        // is the same on both sides.
        self.steps.push(ask(&["EVAL", DROP_RUN_OUT_CLAIMS, "1", &key(product, "claims")]));
    }

    fn part(&mut self) {
        let product = PRODUCTS[self.product()];
        let call_keys = ["outbox", "claims", "sale"].map(|name| key(product, name));
        let orders = 1 + self.below(4);
        let mut arguments = vec![self.an_entry(), orders.to_string()];
        for place in 1..=orders {
            if self.random.per_mille(400) {
                arguments.push(place.to_string());
            }
        }
        self.entries += 1;
        self.steps.push(call(&EDGE.split_entry, &call_keys, &arguments));
    }

    fn settle(&mut self) {
        let product = PRODUCTS[self.product()];
        let entries: Vec<String> = (0..=self.below(2)).map(|_| self.an_entry()).collect();
        self.steps.push(call(&EDGE.settle, &["outbox", "claims"].map(|name| key(product, name)), &entries));
    }

    /// Of some orders of one product or of both.
    fn status(&mut self) {
        let (mut keys, mut arguments) = (Vec::new(), Vec::new());
        let products = 1 + usize::from(self.random.per_mille(300));
        arguments.push(products.to_string());
        for (number, product) in PRODUCTS[..products].iter().enumerate() {
            keys.extend(["outbox", "sale"].map(|name| key(product, name)));
            let orders = 1 + self.below(6);
            arguments.push(orders.to_string());
            arguments.extend(self.seen(number));
            arguments.extend((0..orders).map(|_| format!("o{}", self.below(ORDERS))));
        }
        self.steps.push(call(&EDGE.status, &keys, &arguments));
    }

    fn close(&mut self) {
        if self.random.per_mille(400) {
            let product = PRODUCTS[self.product()];
            self.steps.push(call(&EDGE.close, &keys(product), &[]));
        }
    }

    fn returns(&mut self) {
        let product = self.product();
        let mut arguments = Vec::new();
        for _ in 0..=self.below(3) {
            let asked: Vec<(usize, u64, u64)> = self.asked.iter().copied().filter(|asked| asked.0 == product).collect();
            // Of orders that were asked for lately, and now and then of none.
            let back = 1 + self.below(10);
            let of = asked.len().checked_sub(usize::try_from(back).expect("small")).map(|at| asked[at]);
            let (order, reservation) = match of {
                Some((_, order, reservation)) if self.random.per_mille(800) => (order, format!("r{reservation}")),
                _ => (self.below(ORDERS), format!("x{}", self.below(12))),
            };
            arguments.push(reservation);
            arguments.extend([self.sale_of(product), self.generation_of(product)]);
            arguments.push(self.pick(&["1", "2", "50"]).to_owned());
            arguments.extend([format!("u{}", order % 4), format!("o{order}")]);
        }
        self.steps.push(call(&WORKER.returns, &keys(PRODUCTS[product])[..6], &arguments));
    }

    /// Fence, perhaps the outbox emptied, perhaps restore.
    fn rebuild(&mut self) {
        let product = self.product();
        let (id, name) = (self.sale_of(product), PRODUCTS[product]);
        self.generations[product] += 1;
        let generation = self.generation_of(product);
        let (per_user, opens_at) = (self.pick(&["", "0", "3"]), self.pick(&["", "0", "0", "4102444800000"]));
        let queue = self.pick(&["", "fair", "retry"]);
        let options = ["20", "50", "60", "5e", per_user, opens_at, queue].map(str::to_owned);
        let fence: Vec<String> = [id.clone(), generation.clone()].into_iter().chain(options).collect();
        // It may make the stream anew, whose ids must not be those of the one before.
        self.steps.push(Step::Wait(2));
        self.steps.push(call(&WORKER.rebuild_fence, &keys(name), &fence));
        self.set_apart(product);
        if self.random.per_mille(700) {
            let all: Vec<String> =
                (0..self.entries).map(|number| entry(usize::try_from(number).expect("small"))).collect();
            self.steps.push(call(&EDGE.settle, &["outbox", "claims"].map(|part| key(name, part)), &all));
        }
        let restore = [
            id,
            generation,
            self.pick(&["0", "11", "99"]).into(),
            self.pick(&["open", "open", "closed"]).into(),
            "2".into(),
        ];
        self.steps.push(call(&WORKER.rebuild_restore, &keys(name), &restore));
    }

    fn remove_entry(&mut self) {
        let product = PRODUCTS[self.product()];
        let id = self.an_entry();
        self.steps.push(ask(&["XDEL", &key(product, "outbox"), &id]));
    }

    fn look_up(&mut self) {
        let (mut keys, mut arguments) = (Vec::new(), Vec::new());
        let products = 1 + usize::from(self.random.per_mille(300));
        arguments.push(products.to_string());
        for (product, name) in PRODUCTS[..products].iter().enumerate() {
            let id = self.sale_of(product);
            keys.extend([key(name, "stock"), key(name, "sale"), records(name, &id)]);
            let orders = 1 + self.below(8);
            arguments.extend([id, orders.to_string()]);
            arguments.extend(self.seen(product));
            arguments.extend((0..orders).map(|_| format!("o{}", self.below(ORDERS))));
        }
        self.steps.push(call(&EDGE.replay_lookup, &keys, &arguments));
    }

    /// Always over, or not within this test.
    fn retire(&mut self) {
        let product = PRODUCTS[self.product()];
        let ttl = self.pick(&["0", "3600000"]).to_owned();
        self.steps.push(call(&EDGE.retire, &["outbox", "sale"].map(|name| key(product, name)), &[ttl]));
    }

    /// As `worker/src/audit/gather.rs` asks: what has an order in a reply is the same on both sides.
    fn audit(&mut self) {
        let product = PRODUCTS[self.product()];
        self.steps.push(ask(&["MULTI"]));
        for question in [["GET", "stock"], ["HLEN", "users"], ["XLEN", "outbox"], ["SCARD", "returned"]] {
            self.steps.push(ask(&[question[0], &key(product, question[1])]));
        }
        self.steps.push(ask(&["XRANGE", &key(product, "outbox"), "-", "+"]));
        self.steps.push(ask(&["EXEC"]));
    }

    fn fault(&mut self) {
        let product = PRODUCTS[self.product()];
        let damaged = match self.below(10) {
            0 => records(product, &sale(product, 0)),
            _ => key(product, self.pick(&NAMES)),
        };
        match self.below(14) {
            0..=1 => self.steps.push(ask(&["DEL", &damaged])),
            2 => self.steps.extend([ask(&["DEL", &damaged]), ask(&["SADD", &damaged, "x"])]),
            3 => {
                let stock = self.pick(&["7", "-1", "007", "1e3", ""]);
                self.steps.push(ask(&["SET", &damaged, stock]));
            }
            4 => {
                let marked = self.pick(&["claims", "users", "rate", "sales"]);
                self.steps.push(ask(&["HSET", &key(product, marked), ".", "1 1"]));
            }
            5 => {
                let (field, value) = (
                    self.pick(&["state", "orders", "total", "per_user", "gen", "opens_at"]),
                    self.pick(&["suspended", "3", "x", "", "open"]),
                );
                self.steps.push(ask(&["HSET", &key(product, "sale"), field, value]));
            }
            6 => self.steps.push(ask(&["SCRIPT", "FLUSH"])),
            7 => self.steps.extend(load()),
            8 => self.steps.push(Step::Renew),
            9 => {
                self.steps.push(Step::Replica(true));
                self.step();
                self.step();
                self.steps.push(Step::Replica(false));
            }
            10 => {
                self.steps.push(Step::Full(true));
                for _ in 0..4 {
                    self.step();
                }
                self.steps.push(Step::Full(false));
            }
            11 => self.steps.push(ask(&["XADD", &key(product, "outbox"), "NOMKSTREAM", "*", "h", "not ours"])),
            12 => self.steps.push(ask(&[
                "XADD",
                &key(product, "outbox"),
                "9999999999999-7",
                "h",
                "0 1 10 1 1",
                "o",
                "r1 1 o1 u 1",
                "c",
                "1",
            ])),
            _ => {
                if self.random.per_mille(200) {
                    self.steps.push(ask(&["FLUSHALL"]));
                    self.init(0);
                }
            }
        }
    }
}
