#!/usr/bin/env python3
"""Which branches of the Rust that decides the simulation's fixed seeds never take.

    python3 lab/simulation/reach_rust.py [--seeds 1000] [--holes]

Builds the simulation once more with branch coverage into target/coverage, runs the first seeds, and prints a table: of each file the
outcomes of its conditions (two a condition) and how many were seen. `--holes` prints each that was not, with its line. Conditions on
a planted bug or a rare branch are left out: what ships has none.

Branch coverage is an option that rustc calls unstable, so the compiler of rust-toolchain.toml is told to take it all the same
(RUSTC_BOOTSTRAP), for our own crates only: what is counted is what is tested. Needs llvm-tools of that toolchain (`rustup component
add llvm-tools`).
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target" / "coverage"
# What decides: as `make mutants` has it, and the rest of the edge that is no shell.
COUNTED = ("edge/src/core/", "edge/src/redis/", "worker/src/", "protocol/src/")
LEFT_OUT = ("protocol/src/planted.rs", "protocol/src/rare.rs", "protocol/src/observed.rs")
NOT_SHIPPED = ("is_planted(", "rare::", "is_taken(")
WRAPPED = "FLUX_REACH_RUST_WRAPPED"


def compile_counted(command):
    """As cargo's RUSTC_WRAPPER: our own crates are counted."""
    name = command[command.index("--crate-name") + 1] if "--crate-name" in command else ""
    environment = dict(os.environ)
    if name.startswith("flux_"):
        environment["RUSTC_BOOTSTRAP"] = "1"
        command = command + ["-C", "instrument-coverage", "-Z", "coverage-options=branch"]
    os.execvpe(command[0], command, environment)


def tool(name):
    """A tool of the toolchain's llvm-tools."""
    said = subprocess.run(["rustc", "--print", "target-libdir"], cwd=ROOT, check=True, capture_output=True, text=True)
    path = Path(said.stdout.strip()).parent / "bin" / name
    if not path.exists():
        sys.exit(f"{name} is missing: rustup component add llvm-tools")
    return str(path)


def measured(seeds):
    """The coverage of a run over so many seeds, as llvm-cov exports it."""
    environment = dict(os.environ, RUSTC_WRAPPER=str(Path(__file__).resolve()), CARGO_INCREMENTAL="0", **{WRAPPED: "1"})
    manifest = ["--manifest-path", "lab/simulation/Cargo.toml"]
    build = ["cargo", "build", "--quiet", "--locked", *manifest, "--target-dir", str(TARGET)]
    subprocess.run(build, cwd=ROOT, check=True, env=environment)
    raw = TARGET / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for old in raw.iterdir():
        old.unlink()
    program = TARGET / "debug" / "flux-simulation"
    run = [str(program), "--all", "--seed", "0", "--runs", str(seeds), "--seconds", "100000"]
    subprocess.run(run, cwd=ROOT, check=False, env=dict(os.environ, LLVM_PROFILE_FILE=str(raw / "%p.profraw")))
    merged = TARGET / "merged.profdata"
    subprocess.run([tool("llvm-profdata"), "merge", "-o", str(merged), *map(str, raw.iterdir())], check=True)
    export = [tool("llvm-cov"), "export", "--skip-expansions", "--skip-functions", "-instr-profile", str(merged), str(program)]
    return json.loads(subprocess.run(export, check=True, capture_output=True, text=True).stdout)


def outcomes(file):
    """Of each condition of a file that ships: its line, its words, how often it was true and how often false."""
    lines = Path(file["filename"]).read_text().splitlines()
    found = defaultdict(lambda: [0, 0])
    for line, column, last_line, last_column, true, false, *_ in file["branches"]:
        words = lines[line - 1][column - 1 : last_column - 1] if line == last_line else lines[line - 1][column - 1 :]
        if any(name in lines[line - 1] for name in NOT_SHIPPED):
            continue
        # Several, where a generic function was compiled for several types.
        seen = found[line, column, words.strip()]
        seen[0] += true
        seen[1] += false
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--holes", action="store_true")
    asked = parser.parse_args()
    table, holes = [], []
    for file in measured(asked.seeds)["data"][0]["files"]:
        name = os.path.relpath(file["filename"], ROOT)
        if not name.startswith(COUNTED) or name in LEFT_OUT:
            continue
        found = outcomes(file)
        seen = sum((true > 0) + (false > 0) for true, false in found.values())
        table.append((name, 2 * len(found), seen))
        for (line, _, words), (true, false) in sorted(found.items()):
            if true == 0 or false == 0:
                never = "reached" if true == false == 0 else "true" if true == 0 else "false"
                holes.append(f"{name}:{line}: never {never}: {words}")
    if asked.holes:
        print("\n".join(holes))
    print(f"| file | outcomes | seen over {asked.seeds} seeds |\n|---|--:|--:|")
    for name, of, seen in sorted(table):
        if of > 0:
            print(f"| {name} | {of} | {seen} |")
    of, seen = sum(row[1] for row in table), sum(row[2] for row in table)
    print(f"| all | {of} | {seen} ({100 * seen / max(1, of):.1f} %) |")


if os.environ.get(WRAPPED):
    compile_counted(sys.argv[1:])
main()
