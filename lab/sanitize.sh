#!/usr/bin/env bash
# Tests of the code that holds `unsafe`, watched: by AddressSanitizer where sockets, rings and TLS sessions do the work, by Miri where
# no system call is needed. Ends with 1 where one of them found something.
#
# Leaks are not looked for: monoio leaks 16 bytes with each ring that it makes, and the tasks that stand when a runtime ends; tests make
# one runtime after the other, the programs one a core.
#
# All `unsafe` that ships is in net/src (buffers that the kernel and TLS sessions fill, descriptors that are borrowed) and
# edge/src/shell/memory.rs (one call of mimalloc). The programs' tests run here without mimalloc, which only their `main` sets.
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain=${SANITIZE_TOOLCHAIN:-nightly}
if ! cargo "+$toolchain" miri --version >/dev/null 2>&1; then
  echo "sanitize: needs a $toolchain toolchain with Miri (rustup toolchain install $toolchain --component miri,rust-src)" >&2
  exit 2
fi
host=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')
found=0
export ASAN_OPTIONS=detect_leaks=0

echo "sanitize: AddressSanitizer"
# With a target named, build scripts and procedural macros are built without it.
CARGO_TARGET_DIR=target/sanitize RUSTFLAGS='-Zsanitizer=address' \
  cargo "+$toolchain" test --target "$host" --no-fail-fast --package flux-net || found=1
CARGO_TARGET_DIR=target/sanitize RUSTFLAGS='-Zsanitizer=address' \
  cargo "+$toolchain" test --target "$host" --no-fail-fast --package flux-edge --test shell --test shell_hostile || found=1

echo "sanitize: Miri"
CARGO_TARGET_DIR=target/sanitize cargo "+$toolchain" miri test --package flux-net --lib buffer || found=1
exit "$found"
