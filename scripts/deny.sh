#!/usr/bin/env bash
# Licences, sources and known vulnerabilities of the dependencies, by cargo-deny and deny.toml.
# CLAIMGATE_INSTALL_DENY=1 installs cargo-deny first: some minutes of compiling.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo-deny >/dev/null; then
    if [ "${CLAIMGATE_INSTALL_DENY:-}" != 1 ]; then
        say "dependencies not checked, for cargo-deny is not installed: cargo install cargo-deny --locked"
        exit 0
    fi
    within 900 cargo install cargo-deny --locked || die "cargo-deny could not be installed within 15 minutes"
fi

cargo deny check bans licenses sources
# The advisories live in a repository of their own, which not every network reaches.
if cargo deny fetch db; then
    cargo deny check --disable-fetch advisories
else
    say "advisories not checked, for their database could not be fetched"
fi
