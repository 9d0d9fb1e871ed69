#!/bin/sh
# Fetch axe-core once, which tests use to look for faults of accessibility, and check it: axe.sh FOLDER
set -eu
folder=${1:?usage: axe.sh FOLDER}
version=4.14.1
integrity=FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
registry=${NPM_REGISTRY:-https://registry.npmjs.org}
archive=axe-core-$version.tgz
[ "$(cat "$folder/.version" 2>/dev/null || true)" != "$version" ] || exit 0

mkdir -p "$folder"
cd "$folder"
if command -v npm >/dev/null 2>&1; then
    npm pack "axe-core@$version" --silent >/dev/null
else
    curl --fail --location --silent --show-error --max-time 120 -o "$archive" "$registry/axe-core/-/$archive"
fi
if [ "$(openssl dgst -sha512 -binary "$archive" | base64 | tr -d '\n')" != "$integrity" ]; then
    rm -f "$archive"
    echo "axe-core $version does not have the expected checksum; it was removed" >&2
    exit 5
fi
tar -xzf "$archive" --strip-components=1 package/axe.min.js package/LICENSE
rm -f "$archive"
printf '%s\n' "$version" > .version
