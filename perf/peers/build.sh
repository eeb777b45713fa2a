#!/usr/bin/env bash
# Builds every peer into target/peers/bin of the repository: peer-go, peer-axum, peer-monoio, peer-nginx.
# Needs Go 1.26, Rust, and a C and C++ compiler with make for librdkafka; nginx comes from the distribution and is only
# looked for when it is started.
set -euo pipefail
cd "$(dirname "$0")"
target=$(cd ../.. && pwd)/target/peers
mkdir -p "$target/bin"

go build -trimpath -o "$target/bin/peer-go" ./go
cargo build --release --locked --target-dir "$target"
ln -sf "$target/release/peer-axum" "$target/release/peer-monoio" "$target/bin/"
ln -sf "$PWD/nginx/peer-nginx.sh" "$target/bin/peer-nginx"
