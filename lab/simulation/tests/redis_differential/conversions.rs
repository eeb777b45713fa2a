//! Redis' values in Lua and Lua's in Redis: small scripts, one for each way a value can go or fail.

use flux_simulation::random::Random;
use sha1::{Digest, Sha1};

use crate::{Step, ask};

/// Each is called with one key and one argument.
const SCRIPTS: &[&str] = &[
    "return 1.9",
    "return -1.9",
    "return 2^53",
    "return 9007199254740993",
    "return nil",
    "return {}",
    "return true",
    "return false",
    "return {1, 2, nil, 4}",
    "return {1, {2, 'x', {true}}, false, 3.99}",
    "return {1, 'a', {ok = 'x'}, {err = 'Y z'}}",
    "return {ok = 'a\\nb'}",
    "return {err = 'X y'}",
    "return {err = 5}",
    "return redis.status_reply('FINE')",
    "return redis.error_reply('MY bad')",
    "return redis.error_reply('-MY bad')",
    "return redis.error_reply('bad')",
    "return redis.error_reply(5)",
    "return redis.status_reply()",
    "return print",
    "return redis.call",
    "return redis.call('GET', KEYS[1])",
    "return redis.call('HGETALL', KEYS[1])[1]",
    "return redis.pcall('HGET', KEYS[1], 'f')",
    "return redis.pcall('HGET', KEYS[1], 'f').err",
    "return redis.call('HGET', KEYS[1], 'f')",
    "\n\nlocal x = 1\nreturn redis.call('HGET', KEYS[1], 'f')",
    "local function f()\n  return redis.call('GET', KEYS[1])\nend\nlocal r = f()\nreturn r",
    "return redis.call('SMEMBERS', KEYS[1])",
    "return redis.call('TYPE', KEYS[1]).ok",
    "return redis.call('TYPE', KEYS[1])",
    "return type(redis.call('GET', 'none'))",
    "return type(redis.call('XLEN', 'none'))",
    "return type(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 0))",
    "return redis.call('XRANGE', 'd', '-', '+')[1]",
    "return redis.call('MGET', KEYS[1], 'none', 'a')",
    "return #redis.call('MGET', KEYS[1], 'none', 'a', 'none')",
    "return redis.call('nosuch')",
    "return redis.call('GET')",
    "return redis.pcall('nosuch').err",
    "return redis.pcall('GET').err",
    "return redis.call()",
    "return redis.pcall().err",
    "return redis.call('GET', {})",
    "return redis.pcall('GET', true).err",
    "return redis.call('MULTI')",
    "return redis.call('AUTH', 'x')",
    "return redis.call('SCRIPT', 'LOAD', 'return 1')",
    "return redis.call('EVAL', 'return 1', 0)",
    "return redis.call('SET', KEYS[1], 3.5).ok",
    "redis.call('SET', 'n', 3.5) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 0.1) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 1e20) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 99999999999999999) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 123456789012345678) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', -5) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', -0) return redis.call('GET', 'n')",
    "redis.call('SET', 'n', 1/0) return redis.call('GET', 'n')",
    "redis.call('DEL', 'n') return redis.call('HINCRBY', 'h', 'f', -ARGV[1])",
    "return ARGV[1] + 1",
    "return KEYS[2]",
    "return {#KEYS, #ARGV}",
    "return nosuch",
    "return nosuch.field",
    "y = 1",
    "local t = nil\nreturn t.x",
    "return 'a' < 1",
    "error('boom')",
    "error('boom', 0)",
    "error({err = 'MY boom'})",
    "error()",
    "assert(false)",
    "assert(false, 'no')",
    "return (",
    "return 1 2",
    "local ok, e = pcall(redis.call, 'GET') return {tostring(ok), e.err}",
    "local ok, e = pcall(redis.call, 'HGET', KEYS[1], 'f') return {tostring(ok), type(e)}",
    "local ok, e = pcall(error, 'x') return e",
    "local ok, e = pcall(function() return nosuch end) return e",
    "return string.format('%d %s %03d %.17g', 3, 'x', 7, 0.1)",
    "return {string.match('a b', '^(%S+) (%S+)$')}",
    "return string.rep('ab', 3)",
    "return string.match(5, '%d')",
    "return string.match(nil, '%d')",
    "return string.rep({}, 3)",
    "return math.floor(-1.5)",
    "return {math.max(1, 2), math.min(1, 2), math.ceil(1.2)}",
    "return tonumber('0x10')",
    "return tonumber('1e3')",
    "return tonumber(' 7 ')",
    "return tostring(tonumber('x'))",
    "return tostring(1e15)",
    "return 1e15 .. ''",
    "return table.concat({1, 2, 'x'}, ',')",
    "return select('#', nil, nil)",
    "return {unpack({1, 2, 3}, 2)}",
    "return {unpack({1, 2, 3}, 2, 5)}",
    "local n = 0 for _ in string.gmatch('a\\nb\\nc', '[^\\n]+') do n = n + 1 end return n",
    "local t = {} for i, v in ipairs({5, 6}) do t[i] = v * i end return t",
    "local k = {} for key in pairs({x = 1, y = 2}) do k[#k + 1] = key end table.sort(k) return k",
    "local t = redis.call('TIME') return {#t, #t[1], type(t[2])}",
    "return string.match(redis.call('INFO', 'replication'), 'role:(%a+)')",
    "return string.match(redis.call('INFO', 'server'), 'redis_version:([%d.]+)')",
    "return #string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')",
    "return string.match(redis.call('INFO', 'replication'), 'connected_slaves:(%d+)')",
    "redis.call('SET', 'w', '1') redis.call('HSET', 'w', 'f', '1')",
    "redis.call('SET', 'w', '2') return nosuch",
    "#!lua\nreturn redis.call('SET', KEYS[1], 'x')",
    "#!lua\nreturn nosuch",
    "#!lua\n\nreturn redis.call('GET')",
    "#!lua flags=no-writes\nreturn redis.call('SET', KEYS[1], 'x')",
    "#!lua flags=no-writes\nreturn redis.pcall('SET', KEYS[1], 'x').err",
    "#!lua flags=no-writes,allow-oom\nreturn redis.call('EXISTS', KEYS[1])",
    "#!lua flags=allow-oom\nreturn redis.call('SET', 'w', 'x')",
    "#!lua flags=nonsense\nreturn 1",
    "#!lua nonsense\nreturn 1",
    "#!python\nreturn 1",
    "#!lua",
    "return redis.call('XADD', 'd', 'NOMKSTREAM', '5-*', 'f', 1)",
    "return redis.pcall('XADD', 'none', 'NOMKSTREAM', '*', 'f', 1)",
    "return redis.pcall('XADD', 'a', 'NOMKSTREAM', '*', 'f', 1).err",
    "return redis.pcall('DECRBY', 'a', 'x')",
];

const KEYS: [&str; 5] = ["a", "b", "c", "d", "none"];

/// Every script over every key, in another order each time, through `EVAL` and by digest, with room and without.
pub(crate) fn sequence(random: &mut Random) -> Vec<Step> {
    let mut steps = vec![
        ask(&["SET", "a", "5"]),
        ask(&["HSET", "b", "f", "1", "g", "x"]),
        ask(&["SADD", "c", "f"]),
        ask(&["XADD", "d", "1-1", "f", "1"]),
    ];
    for _ in 0..150 {
        let script = SCRIPTS[usize::try_from(random.below(SCRIPTS.len() as u64)).expect("small")];
        let key = KEYS[usize::try_from(random.below(5)).expect("small")];
        match random.below(12) {
            0 => steps.push(Step::Full(random.per_mille(300))),
            1 => steps.push(Step::Replica(random.per_mille(300))),
            2 => {
                steps.push(ask(&["SCRIPT", "LOAD", script]));
                let digest: String = Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect();
                steps.push(ask(&["EVALSHA", &digest, "1", key, "3"]));
            }
            3 => steps.extend([ask(&["MULTI"]), ask(&["EVAL", script, "1", key, "3"]), ask(&["EXEC"])]),
            _ => steps.push(ask(&["EVAL", script, "1", key, "3"])),
        }
    }
    steps
}

#[test]
fn each_script_is_asked_at_least_once() {
    let all: Vec<String> =
        (1000..1060).flat_map(|seed| sequence(&mut Random::new(seed))).map(|step| format!("{step:?}")).collect();
    for script in SCRIPTS {
        assert!(all.iter().any(|step| step.contains(&format!("{script:?}"))), "{script}");
    }
}
