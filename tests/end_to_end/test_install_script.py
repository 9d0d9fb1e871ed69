"""deploy/install.sh with bundles of a tiny program: below a folder, and on this machine behind an overlay."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from node.cli.app import app
from tests.support.bundles import bundle_module, rewrite_target, write_bundle, write_wheel
from tests.support.paths import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"

Install = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Run a bundle's install.sh --root on a folder of the test."""

    def run(bundle: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        where = () if {"--check", "--help"} & {*arguments} else ("--root", str(tmp_path / "root"))
        return subprocess.run(
            ["sh", str(bundle / "install.sh"), *where, *arguments],
            env={**os.environ, "PYTHON": sys.executable, **environment},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


def _venv(root: Path) -> str:
    return str((root / "opt/lumbar-node/venv").readlink())


# ---- below a folder ------------------------------------------------------------------------------


def test_files_lie_where_a_package_has_them_and_name_no_folder_of_the_build(
    bundle: Path, install: Install, tmp_path: Path
) -> None:
    done = install(bundle)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "root"
    assert _venv(root).startswith("venv-9.1-")
    assert (root / "usr/bin/lumbar-node").readlink() == Path(
        "/opt/lumbar-node/venv/bin/lumbar-node"
    )
    for path in (
        "lib/systemd/system/lumbar-node.service", "lib/systemd/system/lumbar-node.socket",
        "usr/lib/sysusers.d/lumbar-node.conf", "usr/lib/tmpfiles.d/lumbar-node.conf",
        "usr/share/doc/lumbar-node/LICENCES.txt", "usr/share/doc/lumbar-node/LICENSE",
    ):  # fmt: skip
        assert (root / path).is_file(), path
    config = root / "etc/lumbar-node/config.toml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    environment = root / "opt/lumbar-node" / _venv(root)
    script = (environment / "bin/lumbar-node").read_text(encoding="utf-8")
    assert script.startswith(f"#!/opt/lumbar-node/{environment.name}/bin/python")
    for path in [*environment.glob("bin/*"), environment / "pyvenv.cfg"]:
        assert path.is_symlink() or str(tmp_path) not in path.read_text(encoding="utf-8"), path
    (compiled,) = environment.rglob("lumbar_node.*.pyc")
    assert str(tmp_path).encode() not in compiled.read_bytes()


def test_second_run_changes_nothing_and_a_third_version_removes_the_first(
    bundle: Path, install: Install, tmp_path: Path
) -> None:
    root, config = tmp_path / "root", tmp_path / "root/etc/lumbar-node/config.toml"
    assert install(bundle).returncode == 0
    first = _venv(root)
    made = (root / "opt/lumbar-node" / first / ".complete").stat().st_mtime_ns
    config.write_text("mine", encoding="utf-8")
    assert install(bundle).returncode == 0
    assert (root / "opt/lumbar-node" / first / ".complete").stat().st_mtime_ns == made
    names = [first]
    for version in ("9.2", "9.3"):
        done = install(write_bundle(tmp_path / version, version))
        assert done.returncode == 0, done.stderr
        assert f"the version before in /opt/lumbar-node/{names[-1]}" in done.stdout
        names.append(_venv(root))
    kept = sorted(p.name for p in (root / "opt/lumbar-node").iterdir())
    assert kept == ["venv", *sorted(names[1:])]
    assert config.read_text(encoding="utf-8") == "mine"


def test_interrupted_installation_is_made_again(
    bundle: Path, install: Install, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert install(bundle).returncode == 0
    environment = root / "opt/lumbar-node" / _venv(root)
    (environment / ".complete").unlink()
    (environment / "bin/lumbar-node").unlink()
    assert install(bundle).returncode == 0
    assert (environment / "bin/lumbar-node").is_file()


# ---- what does not fit ---------------------------------------------------------------------------


def test_damaged_bundle_is_refused_by_the_name_of_the_file(
    bundle: Path, install: Install, tmp_path: Path
) -> None:
    (wheel,) = (bundle / "wheels").glob("lumbar_node*")
    with wheel.open("ab") as file:
        file.write(b"x")
    done = install(bundle)
    assert done.returncode == 4
    assert wheel.name in done.stdout + done.stderr
    assert "copy it again" in done.stderr
    assert not (tmp_path / "root/opt").exists()


def test_other_file_under_a_correct_sum_is_refused_by_its_hash(
    bundle: Path, install: Install
) -> None:
    write_wheel(bundle / "wheels", "lumbar-node", "9.1", tag="py3-none-any")
    (wheel,) = (bundle / "wheels").glob("lumbar_node*")
    with wheel.open("ab") as file:
        file.write(b"x")
    bundle_module().write_sums(bundle)
    done = install(bundle)
    assert done.returncode != 0
    assert "HASH" in done.stderr.upper()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"python": "3.99"}, r"is not Python 3.99"),
        ({"machine": "m68k"}, "this bundle is for m68k"),
        ({"glibc": "9.99"}, "glibc 9.99 or newer is needed"),
        ({"installed_mb": 999_999_999}, "999999999 MB are needed; make room"),
    ],
)
def test_machine_that_does_not_fit_is_refused_with_the_remedy(
    bundle: Path, install: Install, values: dict[str, object], said: str
) -> None:
    rewrite_target(bundle, **values)
    for arguments in ((), ("--check",)):
        done = install(bundle, *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_gpu_needs_a_bundle_with_its_packages(bundle: Path, install: Install) -> None:
    done = install(bundle, "--gpu")
    assert done.returncode == 2
    assert "make wheelhouse GPU=1" in done.stderr


CLUSTER_FILES = (
    "lib/systemd/system/lumbar-node-scheduler.service",
    "lib/systemd/system/lumbar-node-worker@.service",
    "usr/lib/sysusers.d/lumbar-node-cluster.conf",
)


def test_what_a_cluster_needs_is_installed_on_demand_and_kept_by_an_upgrade(
    bundle: Path, install: Install, tmp_path: Path
) -> None:
    root = tmp_path / "root"

    def installed() -> tuple[list[bool], int]:
        modules = root.glob(
            f"opt/lumbar-node/{_venv(root)}/lib/python*/site-packages/distributed.py"
        )
        return [(root / path).is_file() for path in CLUSTER_FILES], len(list(modules))

    assert install(bundle).returncode == 0
    assert installed() == ([False] * 3, 0)
    done = install(bundle, "--cluster")
    assert done.returncode == 0, done.stderr
    assert _venv(root).endswith("-cluster")
    assert installed() == ([True] * 3, 1)
    done = install(write_bundle(tmp_path / "9.2", "9.2"))
    assert done.returncode == 0, done.stderr
    assert _venv(root).startswith("venv-9.2-")
    assert installed() == ([True] * 3, 1)


def test_cluster_needs_a_bundle_with_its_packages_and_its_disk_space(
    bundle: Path, install: Install
) -> None:
    rewrite_target(bundle, installed_cluster_mb=999_999_990, installed_mb=9)
    done = install(bundle, "--cluster")
    assert done.returncode == 2
    assert "999999999 MB are needed" in done.stderr
    assert install(bundle).returncode == 0
    (bundle / "lock-cluster.txt").unlink()
    done = install(bundle, "--cluster")
    assert done.returncode == 2
    assert "make wheelhouse" in done.stderr


def test_unknown_argument_and_help(bundle: Path, install: Install) -> None:
    assert install(bundle, "--instal").returncode == 2
    done = install(bundle, "--help")
    assert done.returncode == 0
    assert "--uninstall" in done.stdout
    assert "set -eu" not in done.stdout


def test_folder_that_is_no_bundle_says_how_to_make_one(tmp_path: Path, install: Install) -> None:
    shutil.copy2(ROOT / "deploy/install.sh", tmp_path)
    done = install(tmp_path)
    assert done.returncode == 2
    assert "make wheelhouse" in done.stderr


# ---- this machine, behind an overlay -------------------------------------------------------------

INSIDE = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/all"
mount --rbind /proc "$1/all/proc"
mount --rbind /dev "$1/all/dev"
mkdir -p "$1/all/bundles"
mount --bind "$2" "$1/all/bundles"
shift 2
cd /
exec chroot "$OLDPWD/layer/all" "$@"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a shell script as root on a copy of this machine without a network; nothing of it stays."""
    bundles, layer = tmp_path / "bundles", tmp_path / "layer"
    bundles.mkdir()
    layer.mkdir()

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", INSIDE, "sh"]
        command += [str(layer), str(bundles), "sh", "-ec", script]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PYTHON": sys.executable},
        )  # fmt: skip

    if shutil.which("unshare") is None or os.geteuid() != 0 or run("true").returncode != 0:
        pytest.skip("needs root and a kernel that lets it make namespaces and overlays")
    return run


def test_installed_upgraded_and_removed_as_an_administrator_does(
    machine: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    write_bundle(tmp_path / "bundles/first")
    write_bundle(tmp_path / "bundles/second", "9.2")
    done = machine("""
        sh /bundles/first/install.sh --cluster
        id -un lumbar-cluster
        stat -c '%a %U %G %n' /etc/lumbar-node /etc/lumbar-node/config.toml /etc/lumbar-node/credentials /var/lib/lumbar-node
        lumbar-node --version
        echo '# mine' >> /etc/lumbar-node/config.toml
        echo journal > /var/lib/lumbar-node/journal.sqlite
        sh /bundles/second/install.sh
        lumbar-node --version
        tail -1 /etc/lumbar-node/config.toml
        ls /etc/systemd/system/lumbar-node.service /etc/systemd/system/lumbar-node.socket
        sh /bundles/second/install.sh --uninstall
        ls -d /opt/lumbar-node /etc/systemd/system/lumbar-node* /etc/sysusers.d/lumbar-node* /usr/local/bin/lumbar-node 2>/dev/null || true
        cat /var/lib/lumbar-node/journal.sqlite
        tail -1 /etc/lumbar-node/config.toml
    """)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("== checking")]
    said = "\n".join(lines)
    assert "installed, and not started: name your PACS in /etc/lumbar-node/config.toml" in said
    for line in (
        "750 root lumbar-node /etc/lumbar-node", "640 root lumbar-node /etc/lumbar-node/config.toml",
        "700 root root /etc/lumbar-node/credentials", "750 lumbar-node lumbar-node /var/lib/lumbar-node",
    ):  # fmt: skip
        assert line in lines
    assert [line for line in lines if line.startswith("lumbar-node 9")] == [
        "lumbar-node 9.1", "lumbar-node 9.2",
    ]  # fmt: skip
    assert "lumbar-cluster" in lines
    assert lines.count("# mine") == 2
    assert lines[-2:] == ["journal", "# mine"]
    assert "Kept: /etc/lumbar-node" in said
    # What `ls` listed before the removal, and nothing after it.
    assert [line for line in lines if line.startswith("/")] == [
        "/etc/systemd/system/lumbar-node.service", "/etc/systemd/system/lumbar-node.socket",
    ]  # fmt: skip
    assert not Path("/opt/lumbar-node/venv").exists()


def test_ordinary_user_is_sent_to_sudo(
    machine: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    write_bundle(tmp_path / "bundles/first")
    done = machine(
        "chmod -R a+rX /bundles; setpriv --reuid 1234 --clear-groups sh /bundles/first/install.sh"
    )
    assert done.returncode == 2
    assert "sudo sh install.sh" in done.stderr


# ---- the units -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["lumbar-node.service", "lumbar-node-scheduler.service", "lumbar-node-worker@.service"]
)
def test_units_are_valid_and_exposed_little(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze (apt install systemd)")
    text = (SYSTEMD / name).read_text(encoding="utf-8")
    unit = tmp_path / name
    unit.write_text(
        text.replace("/opt/lumbar-node/venv/bin/lumbar-node", shutil.which("true") or "")
    )
    units = [unit]
    if name == "lumbar-node.service":
        units.append(shutil.copy2(SYSTEMD / "lumbar-node.socket", tmp_path))
    verify = subprocess.run(
        [analyze, "verify", *map(str, units)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (verify.returncode, verify.stderr) == (0, "")
    scored = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in scored.stderr:
        pytest.skip("this systemd-analyze scores no file (systemd 250 does)")
    assert scored.returncode == 0, scored.stdout[-300:]


@pytest.mark.parametrize("name", ["lumbar-node.service", "lumbar-node-worker@.service"])
def test_unit_leaves_out_what_the_engine_cannot_bear(name: str) -> None:
    lines = (SYSTEMD / name).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith("MemoryDenyWriteExecute")]


@pytest.mark.parametrize("name", ["lumbar-node-scheduler.service", "lumbar-node-worker@.service"])
def test_programs_of_a_cluster_run_as_a_user_that_owns_nothing(name: str) -> None:
    lines = (SYSTEMD / name).read_text(encoding="utf-8").splitlines()
    assert {"User=lumbar-cluster", "InaccessiblePaths=-/var/lib/lumbar-node"} <= set(lines)
    made = (SYSTEMD / "lumbar-node-cluster.sysusers").read_text(encoding="utf-8")
    assert [x.split()[1] for x in made.splitlines() if x.startswith("u ")] == ["lumbar-cluster"]
    (command,) = [line for line in lines if line.startswith("ExecStart=")]
    words = command.split()
    assert words[0] == "ExecStart=/opt/lumbar-node/venv/bin/lumbar-node"
    assert words[1] in {command.name for command in app.registered_commands}
