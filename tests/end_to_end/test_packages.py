"""orthanc/packages.sh: installs what is missing only, and never lets the packaged Orthanc start."""

from __future__ import annotations

import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "orthanc" / "packages.sh"
TOOLS = ("sh", "cat", "cp", "rm", "mktemp", "touch", "install", "grep", "chmod", "env")

APT = """
if [ "$1" = update ]; then exit 0; fi
echo "$@" >> "$CALLS"
"$POLICY_RC_D" orthanc restart; echo "orthanc $?" >> "$CALLS"
"$POLICY_RC_D" postgresql start; echo "postgresql $?" >> "$CALLS"
exit "${APT_EXIT:-0}"
"""


@dataclass
class Machine:
    """A pretended Debian: its programs, and what was asked of apt."""

    programs: Path
    calls: Path
    policy: Path

    def program(self, name: str, text: str) -> None:
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def run(self, **more: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.programs), "CALLS": str(self.calls), "HOME": "/nonexistent"}
        env |= {"POLICY_RC_D": str(self.policy), "TMPDIR": str(self.calls.parent)} | more
        return subprocess.run(
            [str(self.programs / "sh"), str(SCRIPT), "demo"],
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )

    @property
    def asked(self) -> str:
        return self.calls.read_text(encoding="utf-8") if self.calls.exists() else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (programs / tool).symlink_to(found)
    made = Machine(programs, tmp_path / "calls", tmp_path / "policy-rc.d")
    made.program("id", "echo 0")
    made.program("python3", "exit 0")
    made.program(
        "dpkg-query", 'case "$3" in dcmtk) echo "install ok installed" ;; *) exit 1 ;; esac'
    )
    made.program("apt-get", APT)
    return made


def test_only_what_is_missing_is_installed_and_nothing_is_upgraded(machine: Machine) -> None:
    done = machine.run()
    assert done.returncode == 0, done.stderr
    order = machine.asked.splitlines()[0]
    assert order.endswith("orthanc orthanc-dicomweb dicom3tools")
    assert "--no-upgrade" in order


def test_orthanc_is_kept_from_starting_and_nothing_else_is(machine: Machine) -> None:
    machine.run()
    assert "orthanc 101" in machine.asked
    assert "postgresql 0" in machine.asked
    assert not machine.policy.exists()


@pytest.mark.parametrize("apt_exit", ["0", "100"])
def test_the_policy_that_was_there_is_asked_and_comes_back(machine: Machine, apt_exit: str) -> None:
    mine = "#!/bin/sh\nexit 104\n"
    machine.policy.write_text(mine, encoding="utf-8")
    machine.policy.chmod(0o755)
    assert machine.run(APT_EXIT=apt_exit).returncode == 0
    assert "orthanc 101" in machine.asked
    assert "postgresql 104" in machine.asked
    assert machine.policy.read_text(encoding="utf-8") == mine


def test_without_apt_it_says_what_is_missing_and_ends_well(machine: Machine) -> None:
    (machine.programs / "apt-get").unlink()
    done = machine.run()
    assert done.returncode == 0
    assert "apt install orthanc orthanc-dicomweb dicom3tools" in done.stdout


def test_sudo_is_not_used_when_nobody_can_be_asked(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    machine.program("sudo", 'echo "sudo $*" >> "$CALLS"')
    done = machine.run()
    assert done.returncode == 0
    assert "YES=1" in done.stdout
    assert machine.asked == ""


def test_user_without_the_right_to_sudo_goes_on_without(machine: Machine) -> None:
    machine.program("id", "echo 1000")
    machine.program("sudo", 'echo "user is not in the sudoers file" >&2; exit 1')
    done = machine.run(YES="1")
    assert done.returncode == 0
    assert "sudo refused" in done.stdout
    assert machine.asked == ""


def test_with_everything_there_nothing_is_said_or_done(machine: Machine) -> None:
    machine.program("dpkg-query", 'echo "install ok installed"')
    done = machine.run()
    assert (done.returncode, done.stdout, machine.asked) == (0, "", "")


@pytest.mark.parametrize(
    ("python3", "said"),
    [
        (None, "python3 is missing: apt install python3 python3-venv"),
        ('case "$*" in *version_info*) exit 1;; esac', "Python 3.11 or newer is needed"),
        ('case "$*" in *venv*) exit 1;; esac', "python3-venv is missing: apt install python3-venv"),
    ],
)
def test_make_install_says_what_python_is_missing(
    machine: Machine, tmp_path: Path, python3: str | None, said: str
) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    (machine.programs / "python3").unlink()
    if python3 is not None:
        machine.program("python3", python3)
    shutil.copy2(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in (
        "build.lock",
        "base.lock",
        "gpu.lock",
        "train.lock",
        "accelerators.txt",
        "torch.sh",
    ):
        (tmp_path / "requirements" / name).touch()
    (tmp_path / "pyproject.toml").touch()
    done = subprocess.run(
        [make, "install"], cwd=tmp_path, env={"PATH": str(machine.programs)},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
