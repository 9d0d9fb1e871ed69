from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from node.clock import Clock
from node.events import Event, NodeReady, StepHangs, WorkerRefused
from node.service.notify import Notifier
from node.service.watch import Rounds, Watch


@dataclass
class Worker:
    """A worker process as the watch sees it; `code` is how it ended."""

    ready: bool = False
    code: int | None = None
    ending: str = ""

    def poll(self) -> int | None:
        return self.code


@dataclass
class Workers:
    processes: list[Worker]

    @property
    def ready(self) -> bool:
        return all(w.ready for w in self.processes)


@dataclass
class Thread:
    name: str
    round_at: float = 0.0

    def rounds(self) -> Rounds:
        return Rounds(self.name, 300.0, lambda: self.round_at)


@dataclass
class Scene:
    """A watch of one worker and two threads; what it wrote, and what systemd heard of it."""

    now: float = 0.0
    worker: Worker = field(default_factory=Worker)
    threads: list[Thread] = field(default_factory=lambda: [Thread("receive"), Thread("track")])
    events: list[Event] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    ready_calls: int = 0

    def __post_init__(self) -> None:
        notifier = Notifier("/nowhere", 60.0)
        scene = self

        class Hears(Notifier):
            def tell(self, *states: str) -> None:
                scene.heard += states

        def on_ready() -> None:
            self.ready_calls += 1

        self.watch = Watch(
            "127.0.0.1:104", cast("Any", Workers([self.worker])), [t.rounds() for t in self.threads],
            Hears(notifier.address, notifier.watchdog_s), self.events.append,
            Clock(monotonic=lambda: self.now), on_ready,
        )  # fmt: skip

    def pass_time(self, seconds: float, *, except_for: str = "") -> int:
        """Look every second; threads go round but for one."""
        for _ in range(int(seconds)):
            self.now += 1
            for thread in self.threads:
                if thread.name != except_for:
                    thread.round_at = self.now
            code = self.watch.look()
            if code:
                return code
        return 0


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_ready_is_sent_once_when_every_worker_has_its_model(scene: Scene) -> None:
    scene.pass_time(5)
    assert "READY=1" not in scene.heard
    scene.worker.ready = True
    scene.pass_time(100)
    assert scene.heard.count("READY=1") == 1
    assert scene.ready_calls == 1
    assert [type(e) for e in scene.events] == [NodeReady]


def test_status_says_what_is_waited_for(scene: Scene) -> None:
    scene.pass_time(1)
    assert scene.heard[0] == (
        "STATUS=listening on 127.0.0.1:104, 0 of 1 workers ready: loading the model"
    )
    scene.worker.ready = True
    scene.pass_time(1)
    assert "STATUS=listening on 127.0.0.1:104, 1 of 1 workers ready" in scene.heard


def test_status_says_why_a_worker_ended(scene: Scene) -> None:
    scene.worker.code, scene.worker.ending = 1, "the worker ended with exit code 1"
    assert scene.pass_time(1) == 0
    assert scene.heard[0].endswith("workers ready: the worker ended with exit code 1")


def test_worker_that_refuses_its_model_ends_the_service_with_its_code(scene: Scene) -> None:
    scene.worker.code = 6
    assert scene.pass_time(1) == 6
    assert scene.events == [WorkerRefused(6)]
    assert scene.heard == []


def test_sign_of_life_comes_three_times_in_the_time_of_the_watchdog(scene: Scene) -> None:
    scene.worker.ready = True
    scene.pass_time(121)
    assert scene.heard.count("WATCHDOG=1") == 7  # at 1, 21, … 121


def test_thread_that_hangs_is_named_once_and_no_sign_of_life_follows(scene: Scene) -> None:
    scene.worker.ready = True
    scene.pass_time(100)
    scene.pass_time(310, except_for="track")
    signs = scene.heard.count("WATCHDOG=1")
    scene.pass_time(200, except_for="track")
    assert scene.heard.count("WATCHDOG=1") == signs
    hanging = [e for e in scene.events if isinstance(e, StepHangs)]
    assert [e.step for e in hanging] == ["track"]
    assert hanging[0].seconds > 300
    assert scene.heard[-1] == "STATUS=127.0.0.1:104: track hangs; see the log"


def test_thread_that_goes_round_again_is_alive_again(scene: Scene) -> None:
    scene.worker.ready = True
    scene.pass_time(340, except_for="receive")
    scene.heard.clear()
    scene.pass_time(21)
    assert scene.heard[:2] == [
        "STATUS=listening on 127.0.0.1:104, 1 of 1 workers ready",
        "WATCHDOG=1",
    ]


def test_process_that_slept_does_not_blame_its_threads(scene: Scene) -> None:
    scene.worker.ready = True
    scene.pass_time(30)
    scene.now += 3600  # stopped and continued; no thread had a chance
    scene.watch.look()
    scene.pass_time(30)
    assert not [e for e in scene.events if isinstance(e, StepHangs)]
    assert scene.heard[-1] == "WATCHDOG=1"


def test_without_a_watchdog_a_hang_is_logged_all_the_same(scene: Scene) -> None:
    scene.watch.notifier.watchdog_s = 0.0
    scene.worker.ready = True
    scene.pass_time(320, except_for="track")
    assert [e.step for e in scene.events if isinstance(e, StepHangs)] == ["track"]
