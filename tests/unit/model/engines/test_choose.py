"""Which engine a machine runs, by what is asked for, what is installed and what the machine has."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from model.engines import choose
from model.engines.choose import choose_engine
from model.engines.port import EngineOptions
from model.errors import EngineError


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with torch and without a GPU."""
    return Machine(monkeypatch)


class Machine:
    """What `choose` finds on this machine."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.has(torch_installed=True, driver=False, cuda=False)

    def has(self, *, torch_installed: bool, driver: bool, cuda: bool) -> None:
        def library(name: str) -> None:
            assert name == choose.DRIVER
            if not driver:
                raise OSError

        self._patch.setattr(choose, "find_spec", lambda name: name if torch_installed else None)
        self._patch.setattr(choose.ctypes, "CDLL", library)
        self._patch.setattr(torch.cuda, "is_available", lambda: cuda)


def chosen(engine: str = "auto", device: str = "auto", **more: Any) -> str:
    return choose_engine(EngineOptions(engine, device, **more))[0]


def refusal(engine: str = "auto", device: str = "auto", **more: Any) -> str:
    with pytest.raises(EngineError) as refused:
        chosen(engine, device, **more)
    assert refused.value.exit_code == 6
    return str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"), [("engine", "onnx"), ("device", "tpu"), ("precision", "int8")]
)
def test_an_unknown_word_is_refused(key: str, value: str) -> None:
    assert f"{key} '{value}' is unknown" in refusal(**{key: value})


def test_a_cpu_runs_openvino_unless_torch_is_asked_for(machine: Machine) -> None:
    assert [chosen(e) for e in ("auto", "openvino", "torch")] == [
        "openvino",
        "openvino",
        "torch-cpu",
    ]
    machine.has(torch_installed=False, driver=False, cuda=False)
    assert [chosen(e) for e in ("auto", "openvino")] == ["openvino", "openvino"]
    assert "torch is not installed; install it with `make install-gpu`" in refusal("torch")


def test_torch_is_not_imported_to_learn_that_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert chosen() == "openvino"


def test_auto_runs_torch_on_a_gpu(machine: Machine) -> None:
    machine.has(torch_installed=True, driver=True, cuda=True)
    assert [chosen(), chosen("torch"), chosen(device="cuda")] == ["torch-cuda"] * 3
    assert [chosen("openvino"), chosen(device="cpu")] == ["openvino"] * 2
    machine.has(torch_installed=True, driver=True, cuda=False)
    assert choose_engine(EngineOptions()) == ("openvino", "")


def test_a_gpu_without_torch_is_left_unused_and_that_is_said(machine: Machine) -> None:
    machine.has(torch_installed=False, driver=True, cuda=False)
    choice, note = choose_engine(EngineOptions())
    assert choice == "openvino"
    assert note.startswith("the NVIDIA GPU is not used: torch is not installed; install it")
    assert choose_engine(EngineOptions(device="cpu")) == ("openvino", "")


def test_cuda_is_refused_with_what_is_missing(machine: Machine) -> None:
    assert "openvino runs on the CPU" in refusal("openvino", "cuda")
    assert "no CUDA device here" in refusal(device="cuda")
    machine.has(torch_installed=False, driver=True, cuda=False)
    assert "torch, which is not installed" in refusal(device="cuda")
