#!/usr/bin/env bash
# Licences, sources and known vulnerabilities of the dependencies, by cargo-deny and deny.toml.
# With CI=true cargo-deny is installed first: some minutes of compiling.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

checker cargo-deny cargo-deny 0.20.2 || exit 0
cargo deny check bans licenses sources
# The advisories live in a repository of their own, which not every network reaches.
if cargo deny fetch db; then
    cargo deny check --disable-fetch advisories
else
    say "advisories not checked, for their database could not be fetched"
fi
