# syntax=docker/dockerfile:1
# Builds both programs; `--target edge` and `--target worker` give one small image each.

FROM rust:1.95.0-bookworm AS build
# The version of rust-toolchain.toml is here; without this line rustup would fetch the components it names for developers.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
# The caches live outside the image, so the programs are copied out of the target directory in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package flux-edge --package flux-worker --bins \
    && install -D --target-directory=/out target/release/flux-edge target/release/flux-worker

FROM debian:bookworm-slim AS base
# curl is there for the health checks.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin flux
USER flux
# Both programs drain on SIGTERM: ready goes 503, requests in flight finish, Kafka is flushed.
STOPSIGNAL SIGTERM

FROM base AS edge
COPY --from=build /out/flux-edge /usr/local/bin/flux-edge
EXPOSE 3000 3001 4000
ENTRYPOINT ["flux-edge"]

FROM base AS worker
COPY --from=build /out/flux-worker /usr/local/bin/flux-worker
EXPOSE 3002
ENTRYPOINT ["flux-worker"]
