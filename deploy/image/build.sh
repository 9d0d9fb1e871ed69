#!/bin/sh
# Build the container image of a bundle: build.sh BUNDLE [BASE]
# PARTS=--cluster also holds what computes on other machines. BASE: an image of Debian, default debian:12-slim. Uses buildah, podman or docker, whichever is here;
# $BUILD_OPTIONS go to it (for example --isolation chroot inside a container).
set -eu
[ $# -ge 1 ] || { echo "usage: build.sh BUNDLE [BASE]" >&2; exit 2; }
bundle=$(CDPATH='' cd -- "$1" && pwd -P)
version=$(sed -n 's/^version=//p' "$bundle/target")
set -- -f "$bundle/image/Containerfile" -t "lumbar-node:$version" -t lumbar-node:latest ${2:+--build-arg BASE="$2"} ${PARTS:+--build-arg PARTS="$PARTS"}
# HEALTHCHECK is a word of Docker's image format.
# shellcheck disable=SC2086
if command -v buildah >/dev/null 2>&1; then
    buildah bud --format docker ${BUILD_OPTIONS:-} "$@" "$bundle"
elif command -v podman >/dev/null 2>&1; then
    podman build --format docker ${BUILD_OPTIONS:-} "$@" "$bundle"
elif command -v docker >/dev/null 2>&1; then
    docker build ${BUILD_OPTIONS:-} "$@" "$bundle"
else
    echo "no buildah, podman or docker is here: apt install buildah" >&2
    exit 2
fi
echo "== image lumbar-node:$version"
