"""Runs first in every Python process of a node under test: kills, sabotage and another clock, by a plan.

The product has no hooks. `FAULT_PLAN` names a JSON file (`tests.fault.plan`); a module that it names is changed
right after its own code has run, so that whoever imports from it gets the changed function. A function that no
longer exists ends the process with exit code 97 and a line: a step that moved must not pass as tested.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

MISSING = 97
"""Exit code where a patch point does not exist."""


def _role() -> str:
    words = " ".join(sys.orig_argv)
    for role, mark in (
        ("worker", "node.work.worker"),
        ("companion", "node.work.companion_process"),
        ("serve", " serve"),
    ):
        if mark in words:
            return role
    return "other"


class _Plan:
    def __init__(self, path):
        content = json.loads(path.read_text(encoding="utf-8"))
        self.marks = Path(content["marks"])
        self.role = _role()
        self.kills = [k for k in content["kills"] if k["role"] in {self.role, "any"}]
        self.variants = content["variants"]
        self.clock = content["clock"]
        self.held = content["held"]
        if self.role == "serve":
            (self.marks / "serve.pid").write_text(str(os.getpid()), encoding="ascii")

    def by_module(self):
        """What is to be done to each module once it is there: a kill is about what a variant put in place."""
        todo = {}
        for variant in self.variants:
            module, _, name = variant["at"].partition(":")
            make = functools.partial(self._sabotage, variant["name"], module, name)
            todo.setdefault(module, []).append(make)
        for kill in self.kills:
            module, _, name = kill["at"].partition(":")
            todo.setdefault(module, []).append(functools.partial(self._arm, kill, module, name))
        return todo

    def _arm(self, kill, module, name):
        owner, last, original = _find(module, name)
        count = itertools.count(1)

        @functools.wraps(original)
        def killing(*arguments, **keywords):
            number = next(count)
            if kill["when"] == "before" and number >= kill["nth"]:
                self._kill(kill)
            answer = original(*arguments, **keywords)
            if kill["when"] == "after" and number >= kill["nth"]:
                self._kill(kill)
            return answer

        setattr(owner, last, killing)

    def _kill(self, kill):
        """End the processes that the plan names, once per planned time, whichever process comes first."""
        for time_ in range(kill["times"]):
            try:
                handle = os.open(
                    self.marks / f"{kill['id']}.{time_}", os.O_CREAT | os.O_EXCL | os.O_WRONLY
                )
            except FileExistsError:
                continue
            os.write(handle, f"{self.role} {os.getpid()}\n".encode())
            os.close(handle)
            if kill["victim"] == "node":
                os.kill(int((self.marks / "serve.pid").read_text(encoding="ascii")), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def _sabotage(self, variant, module, name):
        owner, last, original = _find(module, name)
        broken = importlib.import_module("tests.fault.broken")
        setattr(owner, last, getattr(broken, variant)(original))


def _find(module, name):
    owner = sys.modules[module]
    *path, last = name.split(".")
    try:
        for part in path:
            owner = getattr(owner, part)
        original = vars(owner)[last]
    except (AttributeError, KeyError):
        sys.stderr.write(f"fault: {module}:{name} does not exist; name the step's new function\n")
        sys.stderr.flush()
        os._exit(MISSING)
    return owner, last, original


class _Loader:
    """A loader that changes its module when that is complete."""

    def __init__(self, loader, changes):
        self._loader, self._changes = loader, changes

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        for change in self._changes:
            change()


class _Finder:
    def __init__(self, todo):
        self._todo = todo

    def find_spec(self, name, path=None, target=None):
        if name not in self._todo:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._todo.pop(name))
                return spec
        return None


def _another_clock(path):
    """Let the wall clock show what the file says: seconds to be added, as a double."""
    shown = mmap.mmap(os.open(path, os.O_RDONLY), 8, prot=mmap.PROT_READ)
    true_time = time.time
    time.time = lambda: true_time() + struct.unpack("<d", shown[:8])[0]


def _hold(flag):
    """Keep a worker from loading anything while the flag is there; its successor begins as any worker does."""
    parent = os.getppid()
    while flag.exists() and os.getppid() == parent:
        time.sleep(0.1)
    os._exit(0)


if os.environ.get("FAULT_PLAN"):
    _PLAN = _Plan(Path(os.environ["FAULT_PLAN"]))
    if _PLAN.clock:
        _another_clock(_PLAN.clock)
    if _PLAN.held and _PLAN.role == "worker" and Path(_PLAN.held).exists():
        _hold(Path(_PLAN.held))
    sys.meta_path.insert(0, _Finder(_PLAN.by_module()))
