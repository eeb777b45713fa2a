#!/usr/bin/env bash
# Draws a flame graph of a running program: perf samples it, inferno folds the stacks and draws the SVG.
#
#   perf/flame.sh [--pid PID | --name flux-edge] [--seconds 10] [--out FILE.svg]
#
# Without --pid it takes the newest process of that name (flux-edge). `make demo KEEP=1` leaves one running.
#
# Where there are no hardware counters (most virtual machines) it samples the CPU clock, a timer: the shape is the same, only
# code that runs with interrupts off is charged to the instruction that turns them on again.
# Stacks come from the unwind tables (--call-graph dwarf): the optimised programs keep no frame pointers.
# perf wants kernel.perf_event_paranoid <= 1 or root, and <= 1 to see the kernel's own functions, where most time goes.
set -euo pipefail
cd "$(dirname "$0")/.."

complain() { printf 'flame: %s\n' "$*" >&2; exit 2; }

pid='' name=flux-edge seconds=10 out=''
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || complain "$1 wants a value"
  case "$1" in
    --pid) pid=$2 ;;
    --name) name=$2 ;;
    --seconds) seconds=$2 ;;
    --out) out=$2 ;;
    *) complain "unknown option $1 (see the head of perf/flame.sh)" ;;
  esac
  shift 2
done

command -v perf >/dev/null || complain "perf is not here: sudo apt-get install linux-perf"
if [ -z "$pid" ]; then
  pid=$(pgrep --newest --exact "$name") || complain "no process named $name runs; start one with: make demo KEEP=1"
fi
[ -d "/proc/$pid" ] || complain "there is no process $pid"
out=${out:-perf/record/tmp/$(cat "/proc/$pid/comm")-$(date +%Y%m%dT%H%M%S).svg}

# inferno is flamegraph.pl in Rust; it goes beside the build, not into the user's home.
tools=target/tools
if ! [ -x "$tools/bin/inferno-flamegraph" ]; then
  echo "flame: installing inferno into $tools"
  cargo install --quiet --locked --root "$tools" inferno
fi

event=cycles unit=cycles
if ! perf stat --event cycles true 2>&1 | grep -Eq '^ +[0-9.,]+ +cycles'; then
  event=cpu-clock unit=ns
  echo "flame: no hardware counters here, sampling cpu-clock"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# 499 Hz, not 500: never in step with a timer of the program.
perf record --quiet --event "$event" --freq 499 --call-graph dwarf,16384 --pid "$pid" --output "$work/data" -- sleep "$seconds"
perf script --input "$work/data" --no-inline >"$work/script" 2>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
"$tools/bin/inferno-collapse-perf" --all <"$work/script" >"$work/folded"
[ -s "$work/folded" ] || { echo "flame: no samples: was the program busy?" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
"$tools/bin/inferno-flamegraph" --title "$(cat "/proc/$pid/comm"), $seconds s of $event" --countname "$unit" <"$work/folded" >"$out"
echo "flame: $(grep -c " $event:" "$work/script") samples in $out"
