# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches keep the registry and the compiled dependencies between builds; what a cache holds is in no layer,
# so the binary moves out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin claimgate \
    && cp target/release/claimgate /usr/local/bin/claimgate

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY config ./config
COPY --from=build /usr/local/bin/claimgate /usr/local/bin/claimgate
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# No HEALTHCHECK: /livez and /readyz are there for whoever runs it.
ENTRYPOINT ["claimgate"]
CMD ["run"]
