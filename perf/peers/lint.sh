#!/usr/bin/env bash
# Formatting, go vet and clippy of the peers.
set -euo pipefail
cd "$(dirname "$0")"

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { printf 'not gofmt: %s\n' "$unformatted" >&2; exit 1; }
go vet ./...
cargo fmt --check
cargo clippy --locked --all-targets --target-dir ../../target/peers -- -D warnings
