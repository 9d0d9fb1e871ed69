"""The page for the quality file: one HTML document that needs nothing else, laid out to be printed on A4 and signed."""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from node.accept.checks import Check

if TYPE_CHECKING:
    from node.accept.record import Record

_WORDS: Final = {"passed": "PASSED", "failed": "FAILED", "incomplete": "INCOMPLETE"}
_SENTENCES: Final = {
    "passed": "The archive gave back what it was sent; image, geometry and values are those of the phantom.",
    "failed": "At least one check failed. Do not use results of this destination before it is resolved.",
    "incomplete": "The archive gave nothing back, so that nothing is proved.",
}
_MOST_DETAILS: Final = 20
"""Lines of details of one check; checks.json holds all."""
_PICTURE_PX: Final = 1700
"""Width of the picture in the page."""

_STYLE: Final = Path(__file__).with_name("page.css")


def page(record: Record) -> str:
    """Return the document."""
    return "".join(_parts(record))


def _parts(record: Record) -> Iterator[str]:
    style = _STYLE.read_text(encoding="utf-8")
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(record.title)}, {record.started:%Y-%m-%d}</title><style>{style}</style></head><body>"
    )
    yield (
        f"<header><div><h1>{_text(record.title)}</h1><p>{record.started:%Y-%m-%d %H:%M} to {record.ended:%H:%M %Z}"
        f'</p></div><div class="verdict {record.verdict}">{_WORDS[record.verdict]}</div></header>'
    )
    yield f"<p><b>{_SENTENCES[record.verdict]}</b> {len(record.checks)} checks: {_text(record.counts)}.</p>"
    yield "<h2>What was tested</h2><table class=facts><tbody>"
    yield from (f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in record.facts)
    yield "</tbody></table>"
    yield from _checks(record.checks)
    yield "<section class=end><h2>Removing the test study</h2><ul>"
    yield from (f"<li>{_text(line)}</li>" for line in record.deletion)
    yield (
        '</ul><div class="sign"><div>Performed by (name, signature)</div><div>Date</div>'
        "<div>Reviewed by (name, signature)</div><div>Date</div></div>"
        "<footer>Made by lumbar-node accept; checks.json beside this page holds every detail. Research use only: not a"
        " medical device. The test shows how the archive treats the objects of this node on this day; repeat it after"
        " every change of archive, node or bundle.</footer></section>"
    )
    yield from _details(record.checks)
    yield from _picture(record.picture)
    yield "</body></html>"


def _checks(checks: tuple[Check, ...]) -> Iterator[str]:
    yield (
        "<h2>Checks</h2><table class=checks><thead><tr><th>Check</th><th>Expected</th><th>Seen</th><th>Result</th>"
        "</tr></thead><tbody>"
    )
    for group, rows in itertools.groupby(checks, key=lambda c: c.group):
        yield f'<tr class="group"><td colspan="4">{_text(group)}</td></tr>'
        yield from map(_row, rows)
    yield "</tbody></table>"


def _row(check: Check) -> str:
    todo = f'<div class="todo">To do: {_text(check.remedy)}</div>' if check.remedy and check.outcome == "failed" else ""  # fmt: skip
    kind = check.outcome.replace(" ", "")
    return (
        f"<tr><td>{_text(check.what)}</td><td>{_text(check.expected)}</td><td>{_text(check.seen)}{todo}</td>"
        f'<td class="outcome {kind}">{check.outcome}</td></tr>'
    )


def _details(checks: tuple[Check, ...]) -> Iterator[str]:
    """Every line behind the summaries of what is not as it was sent."""
    shown = [c for c in checks if c.details and c.outcome in {"noted", "failed"}]
    if not shown:
        return
    yield "<h2>Annex: details</h2>"
    for check in shown:
        lines = [*check.details[:_MOST_DETAILS]]
        if len(check.details) > _MOST_DETAILS:
            lines.append(f"and {len(check.details) - _MOST_DETAILS} more, in checks.json")
        yield f"<p><b>{_text(check.group)}: {_text(check.what)}</b></p><ul>"
        yield from (f"<li>{_text(line)}</li>" for line in lines)
        yield "</ul>"


def _picture(pixels: Any) -> Iterator[str]:
    encoded = _png(pixels)
    if encoded:
        yield (
            '<figure><h2>Annex: the result, as the archive gave it back</h2><img alt="Page of the result" src="data:image/png;base64,'
            f'{encoded}"><figcaption>Decoded from the copy of summary.dcm. R is the right side of the (synthetic) patient.'
            "</figcaption></figure>"
        )


def _png(pixels: Any) -> str:
    """Return RGB pixels (rows, columns, 3) as PNG in base64, "" where there are none."""
    if pixels is None or getattr(pixels, "ndim", 0) != 3 or pixels.shape[2] != 3:
        return ""
    from matplotlib import image  # noqa: PLC0415 - a second of imports, for the page alone

    step = max(1, round(pixels.shape[1] / _PICTURE_PX))
    buffer = io.BytesIO()
    image.imsave(buffer, pixels[::step, ::step], format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _text(text: str) -> str:
    return html.escape(text)
