"""Each process takes the GPU of its number; a device that is not here is one line."""

from __future__ import annotations

import pytest
import torch

from training.errors import UsageError
from training.fit.device import choose_device, mixed_precision, worker_count
from training.fit.distributed import backend

TWO = {"LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_process_takes_the_gpu_of_its_number_on_its_machine() -> None:
    assert choose_device("auto", TWO) == torch.device("cuda", 1)
    assert choose_device("cuda", TWO) == torch.device("cuda", 1)
    assert choose_device("cuda", {}) == torch.device("cuda", 0)
    assert choose_device("cuda:1", {}) == torch.device("cuda", 1)
    assert choose_device("cpu", TWO) == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
def test_one_gpu_is_not_shared_and_a_third_is_not_here() -> None:
    with pytest.raises(UsageError, match=r"cuda:0 is one GPU for several processes; give cuda"):
        choose_device("cuda:0", TWO)
    with pytest.raises(UsageError, match="CUDA device 2, and there are 2 here"):
        choose_device("cuda:2", {})
    with pytest.raises(UsageError, match="start fewer processes"):
        choose_device("auto", {**TWO, "LOCAL_RANK": "2"})


def test_what_is_not_here_or_not_known_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto", {}) == torch.device("cpu")
    for word, text in (
        ("cuda", "no CUDA device here; give cpu"),
        ("cuda:1", "no CUDA device here"),
        ("mps", "no such device here"),
        ("gpu", "--device gpu is not known; give auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", "is not known"),
    ):
        with pytest.raises(UsageError, match=text):
            choose_device(word, {})


def test_processes_speak_nccl_on_gpus_and_gloo_on_cpus() -> None:
    assert backend(torch.device("cuda", 1)) == "nccl"
    assert backend(torch.device("cpu")) == "gloo"


def test_only_a_gpu_that_computes_in_bfloat16_is_given_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not mixed_precision(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert mixed_precision(torch.device("cuda"))
    assert not mixed_precision(torch.device("cpu"))


def test_workers_are_none_on_a_cpu_and_a_share_of_the_cores_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    gpu = torch.device("cuda")
    assert worker_count(None, torch.device("cpu")) == 0
    assert worker_count(None, gpu) == 5
    assert worker_count(0, gpu) == 0
    assert worker_count(3, torch.device("cpu")) == 3
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert worker_count(None, gpu) == 1
