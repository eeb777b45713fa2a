#!/usr/bin/env bash
# Builds the fuzz targets and runs each for FUZZ_SECONDS (60), or until it has made FUZZ_RUNS runs.
#
#   FUZZ_TARGETS='http jwt'   only these
#   FUZZ_MINIMISE=1           instead: keeps in lab/fuzz/corpus some of the fewest inputs that reach what all of them reach
#
# New inputs are gathered in target/fuzz/<target>/corpus, those that break a property in target/fuzz/<target>/broken: mended, they
# are copied to lab/fuzz/corpus/<target> under a name of their own. Otherwise the kept corpus is only read. Ends with 1 where a property was broken, and says by which file.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${FUZZ_SECONDS:-60}
runs=${FUZZ_RUNS:--1}
toolchain=${FUZZ_TOOLCHAIN:-nightly}
kept_max=50
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
    "$programs/$target" -set_cover_merge=1 -use_counters=0 -max_len=600 "$found/fewest" "$kept" "$found/corpus" >"$found/log" 2>&1
    # Inputs with names of their own were written or kept by hand, and stay; libFuzzer calls its own by 40 hexadecimal digits. Of
    # many of those every so many are kept, from the shortest to the longest.
    find "$kept" -type f -regex '.*/[0-9a-f]*' -delete
    mapfile -t fewest < <(find "$found/fewest" -type f -printf '%s %p\n' | sort -n | cut -d ' ' -f 2)
    every=$((${#fewest[@]} / kept_max + 1))
    for ((at = 0; at < ${#fewest[@]}; at += every)); do cp "${fewest[at]}" "$kept/"; done
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
