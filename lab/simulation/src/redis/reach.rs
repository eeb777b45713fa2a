//! How often each line of each script is run: counted where it was asked for, and nowhere else, for it makes scripts slow.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mlua::{HookTriggers, VmState};

use super::script::Script;
use super::values::CHUNK_NAME;

/// By a script's place in memory: the script, and how often each of its lines was run.
type Counted = BTreeMap<usize, (Rc<Script>, Vec<u64>)>;

static COUNTS: AtomicBool = AtomicBool::new(false);
/// By the scripts' texts: how often each line was run, counted from 1.
static LINES: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static RUNNING: RefCell<Option<Rc<Script>>> = const { RefCell::new(None) };
    static MINE: RefCell<Counted> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts from now on, in every thread that has run no script yet.
pub fn count_lines() {
    COUNTS.store(true, Ordering::Relaxed);
}

/// Adds what this thread has counted to what all have.
pub fn hand_in_lines() {
    let mine = MINE.take();
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    for (script, counts) in mine.into_values() {
        let all = lines.entry(script.source.to_string()).or_default();
        all.resize(all.len().max(counts.len()), 0);
        all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
    }
}

/// What was handed in: by script each line of its text, and how often it was run.
pub fn lines() -> Vec<Vec<(String, u64)>> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let script = |(text, counts): (&String, &Vec<u64>)| {
        let count = |index: usize| counts.get(index + 1).copied().unwrap_or(0);
        text.lines().enumerate().map(|(index, line)| (line.to_owned(), count(index))).collect()
    };
    lines.iter().map(script).collect()
}

macro_rules! files {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../../../../", $name)))),*] };
}

/// The files of which scripts are made.
const FILES: [(&str, &str); 25] = files! {
    "edge/lua/trust.lua" "edge/lua/rights.lua" "edge/lua/outbox.lua" "edge/lua/sale_phase.lua" "edge/lua/fair_queue.lua"
    "edge/lua/reserve.lua" "edge/lua/lease.lua" "edge/lua/queue.lua" "edge/lua/probe.lua" "edge/lua/refresh.lua" "edge/lua/init.lua"
    "edge/lua/close.lua" "edge/lua/relay.lua" "edge/lua/page.lua" "edge/lua/forget.lua" "edge/lua/retire.lua"
    "edge/lua/settle.lua" "edge/lua/split_entry.lua" "edge/lua/status.lua" "edge/lua/replay_lookup.lua" "worker/lua/returns.lua"
    "worker/lua/suspend.lua" "worker/lua/lost.lua" "worker/lua/rebuild_fence.lua" "worker/lua/rebuild_restore.lua"
};

/// By file and line how often that was run, over all scripts that it is a part of; lines that nothing can be run of left out.
pub fn by_file() -> Vec<(&'static str, usize, &'static str, u64)> {
    let scripts = lines();
    let mut found = Vec::new();
    for (name, text) in FILES {
        let own: Vec<&str> = text.lines().collect();
        // The first line of a script is put before what it shares with others.
        let skipped = usize::from(text.starts_with("#!"));
        let mut counts = vec![0; own.len()];
        for script in &scripts {
            let span = own.len() - skipped;
            let is_here = |from: &usize| script[*from..].iter().zip(&own[skipped..]).all(|(line, own)| line.0 == *own);
            let places = 0..(script.len() + 1).saturating_sub(span);
            if let Some(from) = places.into_iter().find(is_here) {
                (skipped..own.len()).for_each(|line| counts[line] += script[from + line - skipped].1);
            }
        }
        let all = own.into_iter().zip(counts).enumerate();
        found.extend(all.filter(|(_, (line, _))| can_run(line)).map(|(at, (line, count))| (name, at + 1, line, count)));
    }
    found
}

/// Whether something of a line is run that is not said to be on another.
fn can_run(line: &str) -> bool {
    let line = line.trim();
    let is_of_another = line.starts_with("--") || line.starts_with("#!") || line.starts_with("local function");
    !(line.is_empty() || is_of_another || matches!(line, "end" | "else" | "end)" | "}" | "})"))
}

/// Hooks a state where lines are counted.
pub(super) fn hook(lua: &mlua::Lua) {
    if !COUNTS.load(Ordering::Relaxed) {
        return;
    }
    let count = |_: &mlua::Lua, debug: &mlua::debug::Debug<'_>| {
        let is_of_script = debug.source().source.is_some_and(|source| source == CHUNK_NAME);
        if let Some(line) = debug.current_line().filter(|_| is_of_script) {
            RUNNING.with_borrow(|running| {
                let Some(script) = running else { return };
                MINE.with_borrow_mut(|mine| {
                    let of = mine.entry(Rc::as_ptr(script) as usize).or_insert_with(|| (Rc::clone(script), Vec::new()));
                    of.1.resize(of.1.len().max(line + 1), 0);
                    of.1[line] += 1;
                });
            });
        }
        Ok(VmState::Continue)
    };
    lua.set_hook(HookTriggers::EVERY_LINE, count).expect("this Lua has hooks");
}

/// This script runs now, or none.
pub(super) fn runs(script: Option<&Rc<Script>>) {
    if COUNTS.load(Ordering::Relaxed) {
        RUNNING.set(script.cloned());
    }
}
