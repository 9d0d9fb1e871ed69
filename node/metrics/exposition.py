"""The Prometheus text format, version 0.0.4: families of samples to lines.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LONGEST_VALUE: Final = 128
"""Characters of a label's value; an AE title has 16, a name of ours at most 64."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. name: without the suffixes of a histogram. labels: names, in the order of their values."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observed values. counts: of those up to each bound, without those of smaller bounds, then the rest."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


Values = Mapping[tuple[str, ...], "float | Histogram"]
"""Values of one metric by the values of its labels."""


def render(families: Iterable[tuple[Metric, Values]]) -> str:
    """Return the text; a metric without values is left out."""
    lines: list[str] = []
    for metric, values in families:
        if values:
            lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            for labels, value in sorted(values.items()):
                lines += _samples(metric, labels, value)
    return "".join(f"{line}\n" for line in lines)


def _samples(metric: Metric, labels: tuple[str, ...], value: float | Histogram) -> list[str]:
    pairs = list(zip(metric.labels, labels, strict=True))
    if not isinstance(value, Histogram):
        return [_line(metric.name, pairs, value)]
    lines, running = [], 0
    for bound, count in zip((*value.bounds, math.inf), value.counts, strict=True):
        running += count
        lines.append(_line(f"{metric.name}_bucket", [*pairs, ("le", _number(bound))], running))
    lines.append(_line(f"{metric.name}_sum", pairs, value.total))
    lines.append(_line(f"{metric.name}_count", pairs, running))
    return lines


def _line(name: str, pairs: Sequence[tuple[str, str]], value: float) -> str:
    labels = ",".join(f'{key}="{_escape(_text(text), quoted=True)}"' for key, text in pairs)
    return f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}"


def _text(value: str) -> str:
    """Return a label's value as UTF-8 can write it, cut to `LONGEST_VALUE`."""
    return value[:LONGEST_VALUE].encode("utf-8", "replace").decode("utf-8")


def _escape(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return (
        str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
    )
