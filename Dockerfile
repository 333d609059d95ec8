# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS source
WORKDIR /build
COPY . .

# Each binary is built on its own, so that neither gets features of the other's dependencies.
# The caches keep the registry and the compiled dependencies between builds, and serve one build at
# a time; what a cache holds is in no layer, so the binary moves out of it. cargo takes a file
# that is older than the cache's last build for unchanged, and the files of a release's archive are
# as old as its commit. So they are touched, to be compiled.
FROM source AS build-simulator
RUN --mount=type=cache,sharing=locked,target=/usr/local/cargo/registry \
    --mount=type=cache,sharing=locked,target=/build/target \
    touch crates/simulator/src/*.rs \
    && cargo build --release --locked --package claimgate-simulator \
    && cp target/release/claimgate-simulator /usr/local/bin/claimgate-simulator

FROM source AS build
# For claimgate_build_info: docker build --build-arg CLAIMGATE_COMMIT="$(git rev-parse --short HEAD)"
ARG CLAIMGATE_COMMIT=unknown
RUN --mount=type=cache,sharing=locked,target=/usr/local/cargo/registry \
    --mount=type=cache,sharing=locked,target=/build/target \
    touch build.rs src/*.rs \
    && cargo build --release --locked --package claimgate \
    && cp target/release/claimgate /usr/local/bin/claimgate \
    && scripts/notices.sh >/usr/local/share/claimgate-notices.txt

# The simulator of the risk APIs, for docker-compose.yml: `docker build --target simulator`.
FROM debian:bookworm-slim AS simulator
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-simulator /usr/local/bin/claimgate-simulator /usr/local/bin/claimgate-simulator
USER 10001:10001
ENTRYPOINT ["claimgate-simulator"]

# The worker: the last stage, which a build without --target makes.
FROM debian:bookworm-slim AS worker
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY config ./config
# Licences: its own, and those of what is compiled in.
COPY LICENSE /usr/share/doc/claimgate/
COPY --from=build /usr/local/share/claimgate-notices.txt /usr/share/doc/claimgate/NOTICES.txt
COPY --from=build /usr/local/bin/claimgate /usr/local/bin/claimgate
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# No HEALTHCHECK: /livez and /readyz are there for whoever runs it.
ENTRYPOINT ["claimgate"]
CMD ["run"]
