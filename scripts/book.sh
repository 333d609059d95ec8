#!/usr/bin/env bash
# Builds docs/ as a book with a search, target/book/index.html. Installs mdBook into the build
# folder first: about a minute of compiling, once.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo_tool mdbook 0.5.4 --no-default-features --features search
"$tools/bin/mdbook" build
