"""Run a server of Dask, a scheduler or a worker, until it is asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from distributed.utils import sync

JOIN_S: Final = 30.0
"""Longest wait of a worker for its scheduler; the service manager starts it again."""
STOP_S: Final = 5.0
ANSWER_S: Final = 5.0
GONE: Final = 5
"""Exit code of a server that ended by itself: a worker whose scheduler is gone."""


def announce(worker: Any, topic: str, text: str) -> None:
    """Send the scheduler a word from a task; when this returns, it is there, whatever becomes of this process.

    Without an answer it returns after `ANSWER_S`: the scheduler is gone, and the task with it.
    """
    with suppress(Exception):
        sync(
            worker.loop, worker.scheduler.log_event,
            callback_timeout=ANSWER_S, topic=topic, msg=text,
        )  # fmt: skip


async def run_server(server: Any, ready: Callable[[], None]) -> int:
    """Run a server of Dask; returns 0 after SIGTERM or Ctrl+C, `GONE` when it ended by itself.

    ready: called when it listens and, of a worker, when the scheduler knows it.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await server
    ready()
    ended = asyncio.create_task(server.finished())
    stopped = asyncio.create_task(asked.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    # A computation that runs in native code keeps its thread, and that the process.
    code = GONE if ended.done() else 0
    last = threading.Timer(2 * STOP_S, os._exit, (code,))
    last.daemon = True
    last.start()
    if ended.done():
        stopped.cancel()
        return code
    with suppress(TimeoutError):  # what is computed is not waited for
        await asyncio.wait_for(server.close(), STOP_S)
    return 0
