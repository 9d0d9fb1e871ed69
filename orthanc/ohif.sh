#!/bin/sh
# Fetch the built OHIF viewer once, check it, unpack what is needed: ohif.sh FOLDER
# FOLDER/dist/ is then ready to be served. Left out: ort/ (163 MB of models), the microscopy viewer
# and all source maps; SEG, SR and PDF work without them.
set -eu
folder=${1:?usage: ohif.sh FOLDER}
version=3.13.2
integrity=WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==
registry=${NPM_REGISTRY:-https://registry.npmjs.org}
archive=ohif-app-$version.tgz
stamp=$folder/dist/.version
[ "$(cat "$stamp" 2>/dev/null || true)" != "$version" ] || exit 0

mkdir -p "$folder"
cd "$folder"
sha512() { openssl dgst -sha512 -binary "$1" | base64 | tr -d '\n'; }
if [ ! -f "$archive" ] || [ "$(sha512 "$archive")" != "$integrity" ]; then
    echo "== fetching OHIF $version (50 MB once)"
    rm -f "$archive"
    if command -v npm >/dev/null 2>&1; then
        npm pack "@ohif/app@$version" --silent >/dev/null
    elif command -v curl >/dev/null 2>&1; then
        curl --fail --location --silent --show-error --max-time 600 -o "$archive" "$registry/@ohif/app/-/app-$version.tgz"
    else
        python3 - "$registry/@ohif/app/-/app-$version.tgz" "$archive" <<'PYTHON'
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=60) as source, open(sys.argv[2], "wb") as out:
    while block := source.read(1 << 20):
        out.write(block)
PYTHON
    fi
fi
if [ "$(sha512 "$archive")" != "$integrity" ]; then
    rm -f "$archive"
    echo "OHIF $version does not have the expected checksum; it was removed, nothing was unpacked" >&2
    exit 5
fi
rm -rf dist unpacked
mkdir unpacked
tar -xzf "$archive" -C unpacked --exclude='*.map' --exclude='package/dist/ort' \
    --exclude='package/dist/dicom-microscopy-viewer' package/dist package/package.json
printf '%s\n' "$version" > unpacked/package/dist/.version
mv unpacked/package/dist dist
rm -rf unpacked
