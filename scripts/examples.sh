#!/usr/bin/env bash
# Tests the settlement examples on a private Apache Kafka and PostgreSQL:
# examples/tests/settlement.py says with which options. CLAIMGATE and CLAIMGATE_SIMULATOR name
# binaries that are there already; without them both are built.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(absolute "${CARGO_TARGET_DIR:-target}")
python=$target/examples/bin/python
[ -x "$python" ] || python3 -m venv "$target/examples"
"$python" -m pip install --quiet --requirement examples/settlement-python/requirements.txt \
    --requirement examples/tests/requirements.txt

if [ -z "${CLAIMGATE:-}" ] || [ -z "${CLAIMGATE_SIMULATOR:-}" ]; then
    # Each on its own: together they would share features of their dependencies.
    for package in claimgate claimgate-simulator; do cargo build --release --package "$package"; done
    CLAIMGATE=$target/release/claimgate CLAIMGATE_SIMULATOR=$target/release/claimgate-simulator
fi
# They are run in another folder.
CLAIMGATE=$(absolute "$CLAIMGATE") CLAIMGATE_SIMULATOR=$(absolute "$CLAIMGATE_SIMULATOR")
export CLAIMGATE CLAIMGATE_SIMULATOR
# Compiled files beside the sources would be in nobody's way, and in everybody's diff.
export PYTHONDONTWRITEBYTECODE=1
exec scripts/with-services.sh "$python" examples/tests/settlement.py "$@"
