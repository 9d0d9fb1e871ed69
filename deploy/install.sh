#!/bin/sh
# Install lumbar-node as a service from the bundle in which this script lies. Needs no network.
#
#   sh install.sh               install, or upgrade what is installed; the configuration is kept
#   sh install.sh --check       examine bundle and machine; changes nothing
#   sh install.sh --gpu         with the packages for an NVIDIA GPU, from a bundle that has them
#   sh install.sh --cluster     with what computes on other machines, and the units of scheduler and worker
#   sh install.sh --uninstall   remove the program; configuration, images and results are kept
#   sh install.sh --root DIR    lay the files below DIR, for a package or an image; starts nothing
#
# PYTHON=/usr/bin/python3.11 names the interpreter. Exit status: 0 done, 2 this machine or these arguments
# do not fit, 4 the bundle is damaged.
set -eu

bundle=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=/opt/lumbar-node
state=/var/lib/lumbar-node
settings=/etc/lumbar-node

say() { printf '== %s\n' "$*"; }
fail() { status=$1; shift; printf 'install.sh: %s\n' "$*" >&2; exit "$status"; }
of_bundle() { sed -n "s/^$1=//p" "$bundle/target"; }
on_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

root='' action=install gpu='' cluster=''
while [ $# -gt 0 ]; do
    case "$1" in
        --root) [ $# -gt 1 ] || fail 2 "--root needs a folder"; mkdir -p "$2"; root=$(CDPATH='' cd -- "$2" && pwd); shift ;;
        --check) action=check ;;
        --uninstall) action=uninstall ;;
        --gpu) gpu=-gpu ;;
        --cluster) cluster=-cluster ;;
        -h | --help) sed -n '2,/^set -eu/{/^set/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) fail 2 "unknown argument $1; see: sh install.sh --help" ;;
    esac
    shift
done
# A package owns /usr; without one, files of the administrator's own belong below /etc and /usr/local.
if [ -n "$root" ]; then
    units=/lib/systemd/system sysusers=/usr/lib/sysusers.d tmpfiles=/usr/lib/tmpfiles.d
    commands=/usr/bin documents=/usr/share/doc/lumbar-node
else
    units=/etc/systemd/system sysusers=/etc/sysusers.d tmpfiles=/etc/tmpfiles.d
    commands=/usr/local/bin documents=/usr/local/share/doc/lumbar-node
fi
cluster_units="lumbar-node-scheduler.service lumbar-node-worker@.service"
# An upgrade takes nothing away that a unit of this machine needs.
if [ -e "$root$units/lumbar-node-scheduler.service" ]; then cluster=-cluster; fi

# ---- does this machine fit? ----

find_python() {
    wanted=$(of_bundle python)
    for python in ${PYTHON:-"python$wanted" python3}; do
        if command -v "$python" >/dev/null 2>&1 && "$python" -c "
import sys, venv
sys.exit('%d.%d' % sys.version_info[:2] != '$wanted')" 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        fail 2 "$PYTHON is not Python $wanted with its module venv; this bundle is made for $wanted"
    elif command -v python3 >/dev/null 2>&1; then
        fail 2 "this bundle is for Python $wanted and here is $(python3 -V 2>&1); make a bundle on a machine like this one: make wheelhouse"
    fi
    fail 2 "Python $wanted is missing: apt-get install python3"
}

check_machine() {
    [ -f "$bundle/target" ] && [ -d "$bundle/wheels" ] ||
        fail 2 "$bundle is not a bundle (no file target, no folder wheels); make one: make wheelhouse"
    [ "$(uname -m)" = "$(of_bundle machine)" ] ||
        fail 2 "this bundle is for $(of_bundle machine) and this machine is $(uname -m); make a bundle on a machine like this one"
    have=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/glibc //')
    oldest=$(printf '%s\n%s\n' "$(of_bundle glibc)" "${have:-0}" | sort -V | head -1)
    [ "$oldest" = "$(of_bundle glibc)" ] ||
        fail 2 "glibc $(of_bundle glibc) or newer is needed and here is ${have:-none}: Debian 12, Ubuntu 22.04, RHEL 9 or newer"
    python=$(find_python)
    if [ -n "$gpu" ]; then
        [ -f "$bundle/lock-gpu.txt" ] ||
            fail 2 "this bundle holds no packages for a GPU; make one that does: make wheelhouse GPU=1"
        [ -n "$root" ] || [ -e /proc/driver/nvidia/version ] ||
            fail 2 "no NVIDIA driver is loaded (/proc/driver/nvidia/version); install the driver first, or leave out --gpu"
    fi
    if [ -n "$cluster" ] && [ ! -f "$bundle/lock-cluster.txt" ]; then
        fail 2 "this bundle holds no packages for a cluster; make one of this version: make wheelhouse"
    fi
    parent=$root$prefix
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    free_mb=$(df -Pm "$parent" | awk 'NR == 2 { print $4 }')
    needed_mb=$(of_bundle installed_mb)
    for part in $gpu $cluster; do needed_mb=$((needed_mb + $(of_bundle "installed_${part#-}_mb"))); done
    [ "$free_mb" -ge "$needed_mb" ] ||
        fail 2 "$parent has $free_mb MB free and $needed_mb MB are needed; make room there"
}

check_root() {
    [ -n "$root" ] || [ "$(id -u)" = 0 ] || fail 2 "run it as root: sudo sh install.sh"
    if [ -z "$root" ] && dpkg-query -W -f='${Status}' lumbar-node 2>/dev/null | grep -q 'ok installed'; then
        fail 2 "the Debian package lumbar-node is installed; upgrade it with apt, or remove it first: apt-get remove lumbar-node"
    fi
}

check_bundle() {
    say "checking $(grep -c . "$bundle/SHA256SUMS") files of the bundle"
    (cd "$bundle" && sha256sum --quiet --check SHA256SUMS) ||
        fail 4 "the bundle is damaged (see the files above); copy it again"
}

# ---- the parts ----

# Every version has a folder of its own and `venv` is a link to the one in use, so that the running service
# keeps its files while another version is installed beside it, and the link goes back.
install_environment() {
    version=$(of_bundle version)
    name=venv-$version-$(sha256sum "$bundle/SHA256SUMS" | cut -c1-8)$gpu$cluster
    folder=$root$prefix/$name
    earlier=$(readlink "$root$prefix/venv" 2>/dev/null || true)
    if [ ! -e "$folder/.complete" ]; then
        say "Python environment $prefix/$name (a minute)"
        rm -rf "$folder"
        mkdir -p "$root$prefix"
        "$python" -m venv --without-pip "$folder"
        # pip runs from its own wheel: the environment needs none, nor the machine python3-venv.
        "$folder/bin/python" "$(echo "$bundle"/wheels/pip-*.whl)/pip" install --quiet --no-index \
            --disable-pip-version-check --no-cache-dir --find-links "$bundle/wheels" \
            --no-deps --require-hashes --no-compile -r "$bundle/lock.txt" \
            ${gpu:+-r "$bundle/lock-gpu.txt"} ${cluster:+-r "$bundle/lock-cluster.txt"}
        if [ -n "$root" ]; then
            grep -rlI "$folder" "$folder/bin" "$folder/pyvenv.cfg" | xargs sed -i "s#$folder#$prefix/$name#g"
        fi
        # The service's user cannot write byte code, and without it every start takes two seconds longer. Some
        # libraries carry templates that are not Python; their failure is not one of the installation.
        "$folder/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash \
            ${root:+-s "$root"} "$folder/lib" >/dev/null 2>&1 || true
        touch "$folder/.complete"
    fi
    if [ -z "$root" ]; then
        "$folder/bin/lumbar-node" --version >/dev/null || fail 2 "$folder/bin/lumbar-node does not start; see above"
    fi
    [ "$earlier" = "$name" ] || say "lumbar-node $version is in $prefix/venv${earlier:+, the version before in $prefix/$earlier}"
    ln -sfn "$name" "$root$prefix/venv.next"
    mv -T "$root$prefix/venv.next" "$root$prefix/venv"
    for old in "$root$prefix"/venv-*; do
        case "${old##*/}" in "$name" | "${earlier:-$name}") ;; *) rm -rf "$old" ;; esac
    done
}

install_files() {
    for folder in "$units" "$sysusers" "$tmpfiles" "$commands" "$documents" "$settings" "$settings/credentials"; do
        mkdir -p "$root$folder"
    done
    for unit in lumbar-node.service lumbar-node.socket ${cluster:+$cluster_units}; do
        install -m 0644 "$bundle/systemd/$unit" "$root$units/$unit"
    done
    install -m 0644 "$bundle/systemd/lumbar-node.sysusers" "$root$sysusers/lumbar-node.conf"
    if [ -n "$cluster" ]; then
        install -m 0644 "$bundle/systemd/lumbar-node-cluster.sysusers" "$root$sysusers/lumbar-node-cluster.conf"
    fi
    install -m 0644 "$bundle/systemd/lumbar-node.tmpfiles" "$root$tmpfiles/lumbar-node.conf"
    install -m 0644 "$bundle/LICENSE" "$bundle/LICENCES.txt" "$bundle/config.toml" \
        "$bundle/systemd/lumbar-node.logrotate" "$root$documents/"
    ln -sfn "$prefix/venv/bin/lumbar-node" "$root$commands/lumbar-node"
    is_new=
    if [ ! -e "$root$settings/config.toml" ]; then
        is_new=1
        install -m 0640 "$bundle/config.toml" "$root$settings/config.toml"
    fi
}

make_user_and_folders() {
    if command -v systemd-sysusers >/dev/null 2>&1; then
        systemd-sysusers lumbar-node.conf ${cluster:+lumbar-node-cluster.conf}
    else
        id lumbar-node >/dev/null 2>&1 ||
            useradd --system --user-group --home-dir "$state" --shell /usr/sbin/nologin lumbar-node
        [ -z "$cluster" ] || id lumbar-cluster >/dev/null 2>&1 ||
            useradd --system --user-group --home-dir / --shell /usr/sbin/nologin lumbar-cluster
    fi
    install -d -m 0750 -o lumbar-node -g lumbar-node "$state"
    install -d -m 0750 -o root -g lumbar-node "$settings"
    install -d -m 0700 -o root -g root "$settings/credentials"
    chown root:lumbar-node "$settings/config.toml"
    chmod 0640 "$settings/config.toml"
}

last_words() {
    on_systemd && systemctl daemon-reload
    if on_systemd && [ -n "$cluster" ]; then
        systemctl try-restart lumbar-node-scheduler.service 'lumbar-node-worker@*.service' ||
            say "a unit of the cluster does not start: systemctl status 'lumbar-node-*'"
    fi
    if ! "$prefix/venv/bin/lumbar-node" check-config --offline --config "$settings/config.toml" >/dev/null; then
        say "$settings/config.toml needs the change above; then: systemctl restart lumbar-node"
        exit 2
    fi
    if on_systemd && systemctl is-active --quiet lumbar-node.service; then
        say "restarting the service with version $(of_bundle version)"
        systemctl restart lumbar-node.service ||
            fail 2 "the service does not start: systemctl status lumbar-node; back to the version before: ln -sfn NAME $prefix/venv"
        for _ in 1 2 3 4 5; do
            if "$prefix/venv/bin/lumbar-node" health --config "$settings/config.toml"; then return; fi
            sleep 3
        done
        fail 2 "the service runs and is not healthy, see above and: systemctl status lumbar-node"
    elif [ -n "$is_new" ]; then
        say "installed, and not started: name your PACS in $settings/config.toml, then"
        echo "     lumbar-node check-config"
        echo "     systemctl enable --now lumbar-node"
        [ -z "$cluster" ] || echo "     for a cluster: [cluster] there, then lumbar-node-scheduler or lumbar-node-worker@0"
    else
        say "installed; the service was not running and is not started"
    fi
}

uninstall() {
    if on_systemd; then
        systemctl stop --quiet 'lumbar-node-worker@*.service' lumbar-node-scheduler.service 2>/dev/null || true
        # shellcheck disable=SC2086 # one word per unit
        systemctl disable --quiet $cluster_units 2>/dev/null || true
        systemctl disable --now --quiet lumbar-node.socket lumbar-node.service 2>/dev/null || true
    fi
    for unit in $cluster_units; do rm -f "$units/$unit"; done
    rm -f "$sysusers/lumbar-node-cluster.conf"
    rm -rf /var/cache/lumbar-cluster
    rm -f "$units/lumbar-node.service" "$units/lumbar-node.socket" "$sysusers/lumbar-node.conf" \
        "$tmpfiles/lumbar-node.conf" "$commands/lumbar-node"
    rm -rf "$prefix" "$documents"
    if on_systemd; then systemctl daemon-reload; fi
    say "removed. Kept: $settings (configuration, credentials) and $state (journal, images, results of patients)."
    echo "     Remove them, and the users lumbar-node and lumbar-cluster, when the results are not needed any more."
}

umask 022
case "$action" in
    uninstall)
        [ -z "$root" ] || fail 2 "--uninstall works on this machine only; leave out --root"
        check_root
        uninstall
        ;;
    check)
        check_machine
        check_bundle
        say "bundle and machine fit"
        ;;
    install)
        check_root
        check_machine
        check_bundle
        install_environment
        install_files
        [ -n "$root" ] || { make_user_and_folders; last_words; }
        ;;
esac
