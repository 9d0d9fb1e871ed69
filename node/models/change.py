"""Change the bundle in service from a page: the registry does it in a process of its own, since it loads the bundle.

The process reads one `ChangeAsked` and answers with one line of JSON: the row of the journal, or what refused it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final

from node.errors import ChangedMeanwhile, IllegalTransition, PromotionRefused, UnknownJob

MODULE: Final = "node.models.change_process"
TIMEOUT_S: Final = 180.0
"""To copy, verify and load a bundle takes some seconds."""
_ERRORS: Final = {e.code: e for e in (ChangedMeanwhile, IllegalTransition, UnknownJob)}


@dataclass(frozen=True, slots=True)
class ChangeAsked:
    """A promotion of a job's candidate, or a rollback (`job` None). state: folder of the node's state.

    configured: bundle of the configuration, "" for the shipped one. seen: as in `node.models.registry.Request`.
    """

    state: str
    configured: str
    job: int | None
    by: str
    reason: str
    seen: int


def change_bundle(asked: ChangeAsked) -> str:
    """Change the bundle in service; returns what is in service now, in words.

    Raises:
        ChangedMeanwhile: another person changed it since; the message names them.
        UnknownJob, IllegalTransition, PromotionRefused: as `node.models.registry.promote`; the last one also for a
            damaged bundle, a full disk, and a process that did not end in time.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", MODULE], input=json.dumps(asdict(asked)).encode("utf-8"),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise PromotionRefused(f"it took longer than {TIMEOUT_S:g} s and was ended; see which model is in service") from error  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise PromotionRefused("the process that changes the bundle ended without an answer; use `lumbar-node models promote`") from error  # fmt: skip
    if "done" in answer:
        return str(answer["done"])
    raise _ERRORS.get(str(answer.get("code")), PromotionRefused)(str(answer.get("text")))
