"""`[selftest]`: when the node measures its synthetic study."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from node.config.fields import Section
from node.config.notify import time_of_day


class SelftestConfig(Section):
    """`[selftest]`: the synthetic study through the node's own pipeline every day, compared with its first result."""

    at: Annotated[str, AfterValidator(time_of_day)] = Field(
        default="",
        description='Local time of the daily self-test, e.g. "04:00"; it waits until the node is idle; empty = never.',
    )
