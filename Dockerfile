# Two stages: `build` compiles the node, `runtime` is what runs. docker build --tag bytecave .

FROM rust:1.95-bookworm AS build
# bindgen reads RocksDB's header through libclang; the compilers are in the base image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The caches make the next build of this stage compile only what changed; the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin bytecave \
    && install -D --mode 0755 target/release/bytecave /out/bytecave

FROM debian:bookworm-slim AS runtime
LABEL org.opencontainers.image.title="ByteCave" \
      org.opencontainers.image.description="A storage node that anyone can run: encrypted blobs over HTTP" \
      org.opencontainers.image.licenses="MIT"
# libstdc++ for RocksDB.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 bytecave \
    && useradd --system --uid 10001 --gid bytecave --no-create-home --home-dir /data --shell /usr/sbin/nologin bytecave \
    && install --directory --owner bytecave --group bytecave --mode 0700 /data
COPY --from=build /out/bytecave /usr/local/bin/bytecave
# A port of a container is reachable only where it is published, so the node listens on all addresses; it then
# asks for the token in /data/keys/api-token before it stores anything.
# The log goes to the terminal alone, where the engine of the container collects it.
ENV DATA_DIR=/data \
    HOST=0.0.0.0 \
    BYTECAVE__LOG__FILE=off
USER bytecave
WORKDIR /
VOLUME ["/data"]
# HTTP; libp2p over TCP and over WebSocket.
EXPOSE 5001 5011 5012
# The node stops in order within 8 s of SIGTERM; Docker waits for 10.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["bytecave", "status"]
ENTRYPOINT ["bytecave"]
CMD ["run"]
