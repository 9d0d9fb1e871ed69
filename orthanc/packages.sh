#!/bin/sh
# System packages through apt, when that is possible: packages.sh demo|test
# Installs only what is missing and upgrades nothing. Without apt or rights it says what is missing
# and ends well: the demonstration then runs with a plain folder, the tests that need more skip.
# Debian's orthanc package brings a service on ports 4242 and 8042. It is kept from starting; one
# that was installed before is never started, stopped or changed.
set -eu
POLICY=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
case "${1:-}" in
    demo) wanted="orthanc orthanc-dicomweb dcmtk dicom3tools" ;;
    test) wanted="orthanc orthanc-dicomweb dcmtk dicom3tools chromium strace poppler-utils" ;;
    *) echo "usage: packages.sh demo|test" >&2; exit 2 ;;
esac

present() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
provided() { # by any other way than apt
    case "$1" in
        orthanc) command -v Orthanc ;;
        dcmtk) command -v storescu ;;
        dicom3tools) command -v dciodvfy ;;
        strace) command -v strace ;;
        poppler-utils) command -v pdftoppm ;;
        chromium) command -v chromium || command -v chromium-browser ;;
        *) false ;;
    esac >/dev/null 2>&1
}

missing=
for package in $wanted; do
    present "$package" || provided "$package" || missing="$missing $package"
done
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
[ -n "$missing" ] || exit 0

without() {
    echo "== not installed:$missing ($1). To install them: apt install$missing"
    exit 0
}
command -v apt-get >/dev/null 2>&1 || without "no apt here"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || without "neither root nor sudo"
    if [ "${YES:-}" != 1 ]; then
        [ -t 0 ] || without "not root, and no terminal to ask on; YES=1 uses sudo without asking"
        printf 'Install%s with sudo apt-get? [y/N] ' "$missing"
        read -r answer
        case "$answer" in y | Y | yes) ;; *) without "declined" ;; esac
    fi
    sudo true || without "sudo refused; a user of the group sudo may install them"
    as_root=sudo
fi

kept=$(mktemp -d)
had_orthanc=no
present orthanc && had_orthanc=yes
restore() {
    if [ -e "$kept/policy-rc.d" ]; then
        $as_root cp -p "$kept/policy-rc.d" "$POLICY"
    elif [ -e "$kept/placed" ]; then
        $as_root rm -f "$POLICY"
    fi
    rm -rf "$kept"
}
trap restore EXIT
trap 'exit 130' INT TERM

# A policy of the site is kept and still asked about every other service.
if [ -e "$POLICY" ]; then cp -p "$POLICY" "$kept/policy-rc.d"; fi
{
    echo '#!/bin/sh'
    echo 'for word; do case "$word" in orthanc*) exit 101 ;; esac; done'
    if [ -e "$kept/policy-rc.d" ]; then echo "exec '$kept/policy-rc.d' \"\$@\""; else echo 'exit 0'; fi
} > "$kept/new"
touch "$kept/placed"
$as_root install -m 0755 "$kept/new" "$POLICY"

echo "== installing$missing"
$as_root apt-get update -qq || echo "== apt-get update failed; trying with the lists at hand"
# Word splitting is meant: one word per package.
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends --no-upgrade -q $missing || {
    echo "== apt could not install$missing; see above. Going on without." >&2
    exit 0
}
if [ "$had_orthanc" = no ] && command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
    $as_root systemctl disable --quiet orthanc || true
    echo "== the packaged Orthanc service stays off (systemctl enable --now orthanc turns it on)"
fi
