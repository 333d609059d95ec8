#!/usr/bin/env bash
# What the compiler does not see: scripts (shellcheck), dependencies that nothing uses
# (cargo-machete), spelling (typos). With CI=true each is installed, or this fails.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ "${CI:-}" != true ] || scripts/setup.sh lint
if command -v shellcheck >/dev/null; then
    shellcheck --external-sources --severity=warning scripts/*.sh .ci/run
else
    say "scripts not checked, for shellcheck is not installed: apt-get install shellcheck"
fi
if checker cargo-machete cargo-machete 0.9.2; then
    cargo machete --skip-target-dir
fi
if checker typos typos-cli 1.52.0; then
    typos
fi
