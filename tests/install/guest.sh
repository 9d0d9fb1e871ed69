# Runs inside a booted Debian: the life of the package, from the first installation to the purge.
# Prints "ok NAME", "not ok NAME: why" and "# figure"; tests/install/test_package.py reads them.
export DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ok() { echo "ok $*"; }
is() { # is NAME EXPECTED FOUND
    if [ "$2" = "$3" ]; then ok "$1"; else echo "not ok $1: expected '$2', found '$3'"; fi
}
has() { # has NAME TEXT PART
    case "$2" in *"$3"*) ok "$1" ;; *) echo "not ok $1: no '$3' in: $2" ;; esac
}
of() { systemctl show -P "$1" lumbar-node.service; }
until_is() { # until_is SECONDS PROPERTY VALUE
    for _ in $(seq "$(($1 * 5))"); do [ "$(of "$2")" = "$3" ] && return 0; sleep 0.2; done
    echo "# $2 is $(of "$2") after $1 s, not $3"; return 1
}
ip link set lo up 2>/dev/null || true  # without iproute2 systemd does it
cd /share || exit
t=$(date +%s)
apt-get install -y -qq --no-install-recommends -o APT::Update::Error-Mode=any ./first.deb > install.log 2>&1; is "package installs without network" 0 $?
echo "# install $(( $(date +%s) - t )) s"
has "first install says what to do" "$(cat install.log)" "name your PACS"
# The unit lies on the disk, and systemd has read it.
is "not enabled" disabled "$(systemctl is-enabled lumbar-node 2>&1)"
is "not started" inactive "$(systemctl is-active lumbar-node)"
systemd-analyze verify lumbar-node.service lumbar-node.socket > verify.log 2>&1; is "units verified" 0 $?
has "exposure" "$(systemd-analyze security --no-pager lumbar-node.service | tail -1)" "OK"
C="lumbar-node-scheduler.service lumbar-node-worker@.service"
# shellcheck disable=SC2086 # one word per unit
is "cluster is not enabled" "disabled disabled" "$(systemctl is-enabled $C 2>&1 | tr '\n' ' ' | sed 's/ $//')"
for u in lumbar-node-scheduler.service lumbar-node-worker@0.service; do
    has "exposure of $u" "$(systemd-analyze security --no-pager "$u" | tail -1)" "OK"
done
is "config mode" "640 root lumbar-node" "$(stat -c '%a %U %G' /etc/lumbar-node/config.toml)"
is "state mode" "750 lumbar-node lumbar-node" "$(stat -c '%a %U %G' /var/lib/lumbar-node)"
echo "Bearer secret" > /etc/lumbar-node/credentials/pacs-token
printf '[Service]\nWatchdogSec=12\n' | systemctl edit --stdin lumbar-node 2>/dev/null || { mkdir -p /etc/systemd/system/lumbar-node.service.d; printf '[Service]\nWatchdogSec=12\n' > /etc/systemd/system/lumbar-node.service.d/test.conf; systemctl daemon-reload; }
t=$(date +%s%3N)
systemctl enable --now --quiet lumbar-node.socket lumbar-node.service; is "start waits for ready" 0 $?
echo "# ready after $(( $(date +%s%3N) - t )) ms"
has "status for people" "$(of StatusText)" "listening on 127.0.0.1:"
P=$(of MainPID)
is "no capability" 0000000000000000 "$(sed -n 's/^CapEff:\t//p' /proc/"$P"/status)"
is "user" lumbar-node "$(stat -c %U "/proc/$P")"
is "credential is readable for the service only" "secret_pacs-token" "$(ls /run/credentials/lumbar-node.service)"
# 104 is 0x68; 0A is LISTEN
grep -q ':0068 .* 0A ' /proc/net/tcp && ok "port 104 listens" || echo "not ok port 104 listens"
V=/opt/lumbar-node/venv/bin/python
$V -m pynetdicom storescu -q -aec LUMBARNODE -r 127.0.0.1 104 /share/study > send.log 2>&1; is "study is accepted" 0 $?
for _ in $(seq 300); do lumbar-node list --json 2>/dev/null | grep -q delivered && break; sleep 0.5; done
for _ in $(seq 60); do lumbar-node health > health.log 2>&1 && break; sleep 0.5; done
has "health" "$(cat health.log)" healthy
has "result is delivered" "$(lumbar-node list --json)" delivered
echo "== cluster"; printf '[cluster]\nscheduler = "tcp://127.0.0.1:8786"\n' >> /etc/lumbar-node/config.toml
systemctl enable --now --quiet lumbar-node-scheduler lumbar-node-worker@0; is "cluster starts" 0 $?
joined() { journalctl -u lumbar-node-worker@0 -o cat --no-pager | grep -c '^worker at tcp'; }
for _ in $(seq 300); do [ "$(joined)" -ge 1 ] && break; sleep 0.5; done; is "worker has joined" 1 "$(joined)"
for u in lumbar-node-scheduler lumbar-node-worker@0; do
    is "$u is another user" lumbar-cluster "$(stat -c %U "/proc/$(systemctl show -P MainPID $u)")"
done
is "state is out of reach" "" "$(nsenter -m -t "$(systemctl show -P MainPID lumbar-node-worker@0)" ls /var/lib/lumbar-node 2>/dev/null)"
echo "== killed"; n=$(of NRestarts); kill -9 "$P"; sleep 1; until_is 400 NRestarts $((n + 1)); until_is 400 ActiveState active; is "runs again after kill -9" active "$(of ActiveState)"
echo "== hanging"; P=$(of MainPID); n=$(of NRestarts); t=$(date +%s); kill -STOP "$P"; until_is 400 NRestarts $((n + 1)) && echo "# restarted by the watchdog after $(( $(date +%s) - t )) s"; until_is 400 ActiveState active; is "runs again after a hang" active "$(of ActiveState)"
has "watchdog is the reason" "$(journalctl -u lumbar-node -o cat --no-pager)" "Watchdog timeout"
echo "== upgrade"; P=$(of MainPID); sed -i 's/^ae_title = .*/ae_title = "LUMBAR2"/' /etc/lumbar-node/config.toml
( while [ ! -e /tmp/end ]; do $V -m pynetdicom echoscu -q -aec LUMBAR2 -ta 60 127.0.0.1 104 && echo e || echo f; sleep 1; done > /share/echoes.log 2>&1 ) & 
t=$(date +%s)
apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold ./second.deb > upgrade.log 2>&1; is "upgrade" 0 $?
echo "# upgrade $(( $(date +%s) - t )) s"
until_is 400 ActiveState active; is "runs after the upgrade" active "$(of ActiveState)"
[ "$(of MainPID)" != "$P" ] && ok "is another process" || echo "not ok is another process"
for _ in $(seq 300); do [ "$(joined)" -ge 2 ] && break; sleep 0.5; done; is "worker has joined after the upgrade" 2 "$(joined)"
touch /tmp/end; wait; echo "# echoes during the upgrade: $(grep -c e echoes.log), failed $(grep -c f echoes.log)"
has "configuration is kept" "$(cat /etc/lumbar-node/config.toml)" LUMBAR2
has "journal is kept" "$(lumbar-node list --json)" delivered
echo "== wrong key"; sed -i 's/^port = /prot = /' /etc/lumbar-node/config.toml; systemctl restart lumbar-node; sleep 7
is "failed" failed "$(of ActiveState)"; is "exit status" 2 "$(of ExecMainStatus)"; is "no restart loop" 0 "$(of NRestarts)"
has "line says what to do" "$(journalctl -u lumbar-node -o cat --no-pager | tail -12)" 'did you mean "port"'
echo "== purge"; apt-get purge -y -qq lumbar-node > purge.log 2>&1; is "purge" 0 $?
has "purge says what is kept" "$(cat purge.log)" "is kept"
is "program is gone" "" "$(ls -d /opt/lumbar-node /etc/lumbar-node /lib/systemd/system/lumbar-node* /usr/lib/sysusers.d/lumbar-node* /var/cache/lumbar-cluster /etc/systemd/system/*/lumbar-node* 2>/dev/null)"
is "nothing of it runs" "" "$(grep -ls lumbar-node /proc/[0-9]*/comm)"
[ -e /var/lib/lumbar-node/journal.sqlite ] && ok "journal is kept after the purge" || echo "not ok journal is kept after the purge"
echo "== end"
