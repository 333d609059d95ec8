#!/usr/bin/env bash
# Builds what is released, from the commit that is checked out, into target/dist.
#
#   scripts/release.sh            refuses a tree with changes that are not committed
#   scripts/release.sh --dirty    takes it as it is, for a try
#
# claimgate-VERSION-ARCH-linux.tar.gz   the program, its manual pages, completions, unit, defaults,
#                                       examples of what the policy decides, docs/, schemas/, the
#                                       licences of what is compiled in
# claimgate_VERSION-1_ARCH.deb          the same as a Debian package
# claimgate-VERSION-image.tar.gz        the Dockerfile with all that it needs
# claimgate-VERSION.cdx.json            which crates are in the program, CycloneDX
# SHA256SUMS
#
# One commit and one compiler make one program, whatever folder it is built in: no path of this
# machine and no time but the commit's is in it. SOURCE_DATE_EPOCH and CLAIMGATE_COMMIT win over
# what git says.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Asked again at the end: a file that changed meanwhile may be packed already.
refuse_changes() {
    [ "$dirty" = yes ] || [ "$(git rev-parse HEAD)$(git status --porcelain)" = "$head" ] ||
        die "there are changes that are not committed; commit them, or say --dirty"
}
dirty=no
case ${1:-} in
    --dirty) dirty=yes ;;
    '') ;;
    *) die "usage: scripts/release.sh [--dirty]" ;;
esac
head=$(git rev-parse HEAD)
refuse_changes

target=$(absolute "${CARGO_TARGET_DIR:-target}")
dist=$target/dist
shipped=$target/shipped
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(uname -m)
tree=$(git stash create)
tree=${tree:-HEAD}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
CLAIMGATE_COMMIT=${CLAIMGATE_COMMIT:-$(git rev-parse --short=12 HEAD)}
export SOURCE_DATE_EPOCH CLAIMGATE_COMMIT CARGO_TARGET_DIR=$target LC_ALL=C TZ=UTC

# What is packed has no owner, no time of its own and one order.
pack() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode='u+w,go-w,a+rX' \
        -C "$2" -cf - "${@:3}" | gzip -9n >"$dist/$1"
}

rm -rf "$dist"
mkdir -p "$dist"

# Rust's and C's compilers write names of files into the program. Of several that fit, Rust takes
# the last one.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
maps=()
c_maps=
for map in "$PWD=/claimgate" "$cargo_home=/cargo" "$target=/target"; do
    maps+=("--remap-path-prefix=$map")
    c_maps+=" -ffile-prefix-map=$map"
done
RUSTFLAGS=${maps[*]} CFLAGS=${CFLAGS:-}$c_maps CXXFLAGS=${CXXFLAGS:-}$c_maps \
    cargo build --locked --profile shipped --package claimgate --bin claimgate
[ "$(stat -c %s "$shipped/claimgate")" -le $((20 * 1024 * 1024)) ] || die "the program is larger" \
    "than 20 MiB"
! grep -qaF -e "$PWD/" -e "$cargo_home/" -e "$target/" "$shipped/claimgate" ||
    die "the program holds a path of this machine; see the maps above"

# What goes beside the program.
assets=$shipped/assets
rm -rf "$assets"
mkdir -p "$assets"/{man,completions}
"$shipped/claimgate" man "$assets/man"
for shell in bash zsh fish; do
    "$shipped/claimgate" completions "$shell" >"$assets/completions/$shell"
done
sed 's:/usr/local/bin/:/usr/bin/:' deploy/systemd/claimgate.service >"$assets/claimgate.service"
scripts/notices.sh >"$assets/NOTICES.txt"

folder=claimgate-$version-$arch-linux
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/$folder"
cp -r "$shipped/claimgate" "$assets"/{man,completions,NOTICES.txt} LICENSE README.md CHANGELOG.md docs schemas \
    config/{default,policy-tests}.toml deploy/systemd/claimgate.service "$stage/$folder"
pack "$folder.tar.gz" "$stage" "$folder"

# [package.metadata.deb] in Cargo.toml says what is where.
cargo_tool cargo-deb 3.8.0 --no-default-features --features lzma
"$tools/bin/cargo-deb" --locked --no-build --no-strip --profile shipped --quiet --output "$dist/"

# Without the file that would make the image fetch another toolchain.
git archive --format=tar "$tree" -- . ':!rust-toolchain.toml' ':!examples' ':!fuzz' >"$stage/image.tar"
gzip -9n <"$stage/image.tar" >"$dist/claimgate-$version-image.tar.gz"

# It writes beside each Cargo.toml, so it gets a copy.
cargo_tool cargo-cyclonedx 0.5.9
mkdir "$stage/source"
tar -xf "$stage/image.tar" -C "$stage/source"
"$tools/bin/cargo-cyclonedx" cyclonedx --manifest-path "$stage/source/Cargo.toml" --format json \
    --spec-version 1.5 --no-build-deps --quiet
sed "s:$stage/source:/claimgate:g" "$stage/source/claimgate.cdx.json" >"$dist/claimgate-$version.cdx.json"

refuse_changes
(cd "$dist" && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
ls -l "$dist"
