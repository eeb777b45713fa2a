#!/usr/bin/env bash
# Builds the fuzz targets and runs each for FUZZ_SECONDS (60), or until it has made FUZZ_RUNS runs.
#
#   FUZZ_TARGETS='http jwt'   only these
#   FUZZ_MINIMISE=1           instead: leaves in lab/fuzz/corpus the fewest of all inputs that reach all that they reach
#
# New inputs are gathered in target/fuzz/<target>/corpus, those that break a property in target/fuzz/<target>/broken. The kept
# corpus is only read. Ends with 1 where a property was broken, and says by which file.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${FUZZ_SECONDS:-60}
runs=${FUZZ_RUNS:--1}
toolchain=${FUZZ_TOOLCHAIN:-nightly}
targets=${FUZZ_TARGETS:-$(cd lab/fuzz/targets && printf '%s\n' *.rs | sed 's/\.rs$//')}

if ! cargo "+$toolchain" fuzz --version >/dev/null 2>&1; then
  echo "fuzz: needs a $toolchain toolchain (rustup toolchain install $toolchain) and cargo-fuzz (cargo install --locked cargo-fuzz)" >&2
  exit 2
fi
cargo "+$toolchain" fuzz build --fuzz-dir lab/fuzz --sanitizer none
programs=target/$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')/release

broken=0
for target in $targets; do
  found=target/fuzz/$target
  kept=lab/fuzz/corpus/$target
  mkdir -p "$found/corpus" "$found/broken" "$kept"
  if [ "${FUZZ_MINIMISE:-0}" != 0 ]; then
    rm -rf "$found/fewest"
    mkdir "$found/fewest"
    "$programs/$target" -merge=1 -max_len=2048 "$found/fewest" "$kept" "$found/corpus" >"$found/log" 2>&1
    rm -f "$kept"/*
    cp "$found/fewest"/* "$kept/"
    printf 'fuzz: %-17s %d inputs kept\n' "$target" "$(find "$kept" -type f | wc -l)"
    continue
  fi
  options=(-max_total_time="$seconds" -runs="$runs" -max_len=2048 -timeout=20 -rss_limit_mb=3000 -artifact_prefix="$found/broken/")
  if [ -f "lab/fuzz/dictionaries/$target.dict" ]; then options+=(-dict="lab/fuzz/dictionaries/$target.dict"); fi
  if "$programs/$target" "${options[@]}" "$found/corpus" "$kept" >"$found/log" 2>&1; then
    printf 'fuzz: %-17s %s\n' "$target" "$(grep '^Done' "$found/log")"
  else
    broken=1
    printf 'fuzz: %-17s BROKEN: %s\n' "$target" "$(grep -m 1 -A 1 'panicked at' "$found/log" | tr '\n' ' ')"
    grep 'Test unit written' "$found/log" || true
  fi
done
exit "$broken"
