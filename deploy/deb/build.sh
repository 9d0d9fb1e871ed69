#!/bin/sh
# Make a Debian package of a bundle: build.sh BUNDLE FOLDER [--cluster]
# The package holds what install.sh lays below --root, for the Debian release with the bundle's Python; it is
# built with the machine's own interpreter, as the environment refers to it by its path.
set -eu
case "$#${3:-}" in 2 | 3--cluster) ;; *) echo "usage: build.sh BUNDLE FOLDER [--cluster]" >&2; exit 2 ;; esac
bundle=$(CDPATH='' cd -- "$1" && pwd)
mkdir -p "$2"
out=$(CDPATH='' cd -- "$2" && pwd)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
of_bundle() { sed -n "s/^$1=//p" "$bundle/target"; }
python=$(of_bundle python)
command -v dpkg-deb >/dev/null 2>&1 || { echo "dpkg-deb is missing: a package is made on Debian" >&2; exit 2; }
[ -x "/usr/bin/python$python" ] ||
    { echo "/usr/bin/python$python is missing: make the package on a Debian release with it" >&2; exit 2; }

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
PYTHON=/usr/bin/python$python sh "$bundle/install.sh" --root "$stage" ${3:+"$3"}
mkdir "$stage/DEBIAN"
installed_kb=$(du -sk "$stage" | cut -f1)
sed -e "s/@version@/$(of_bundle version)/" -e "s/@architecture@/$(dpkg --print-architecture)/" \
    -e "s/@python@/$python/" -e "s/@next_python@/${python%.*}.$((${python#*.} + 1))/" \
    -e "s/@glibc@/$(of_bundle glibc)/" -e "s/@installed_kb@/$installed_kb/" "$here/control" > "$stage/DEBIAN/control"
cp "$here/conffiles" "$stage/DEBIAN/"
install -m 0755 "$here/postinst" "$here/prerm" "$here/postrm" "$stage/DEBIAN/"
package=$out/lumbar-node${3:+-cluster}_$(of_bundle version)_$(dpkg --print-architecture)_python$python.deb
dpkg-deb --root-owner-group -Zzstd -z3 --build "$stage" "$package" >/dev/null
echo "== $package, $(du -m "$package" | cut -f1) MB"
