#!/usr/bin/env bash
# Prints the licences of what is compiled into claimgate: of each crate, and of the C libraries that
# crates bring along (librdkafka, jemalloc, zstd). Most of them want their text beside a program
# that is passed on. A text that several have is printed once.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The folder of a crate's source, as `cargo build` left it.
source_of() {
    local folder
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$2"; do
        [ ! -d "$folder" ] || { printf '%s\n' "$folder" && return; }
    done
    die "the source of $1 $2 is not in $(dirname "$folder"); build claimgate first"
}

# Its texts: at the top, and at the top of a library in C within it.
texts_of() {
    (cd "$1" && find . -maxdepth 3 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' \
        -o -iname 'notice*' -o -iname 'unlicense*' \) ! -name '*.rs' | sed 's:^\./::' | LC_ALL=C sort)
}

# Without what only compiles: build scripts, macros and what tests need are not in the program.
crates=$(cargo tree --locked --package claimgate --edges normal,no-proc-macro --prefix none --format '{p}|{l}')
printf '%s\n' 'claimgate is under the Apache License 2.0. In the program are also the standard library of Rust' \
    '(MIT OR Apache-2.0), and these:'
declare -A printed
found=' '
while IFS='|' read -r crate licence; do
    # A package of this repository has its folder behind the version.
    read -r name version folder <<<"$crate"
    [ -z "$folder" ] || continue
    folder=$(source_of "$name" "${version#v}")
    printf '\n%s\n%s %s: %s\n' "$(printf '=%.0s' {1..78})" "$name" "${version#v}" "$licence"
    mapfile -t files < <(texts_of "$folder")
    [ ${#files[@]} -gt 0 ] || printf '\nIts package has no text of it.\n'
    for file in "${files[@]}"; do
        found+="$name/$file "
        sum=$(sha256sum <"$folder/$file")
        if [ -n "${printed[$sum]:-}" ]; then
            printf '\n%s: as %s\n' "$file" "${printed[$sum]}"
        else
            printed[$sum]="$name $file"
            printf '\n%s:\n\n' "$file"
            cat "$folder/$file"
        fi
    done
done < <(sed 's/ (\*)//; s/ *|/|/' <<<"$crates" | LC_ALL=C sort -u)

# The crates' own licences do not cover these; where a crate moves one, this has to follow it.
for library in rdkafka-sys/librdkafka/LICENSE tikv-jemalloc-sys/jemalloc/COPYING zstd-sys/zstd/LICENSE; do
    [[ $found == *" $library "* ]] || die "$library is not there: where is the licence of that C library now?"
done
