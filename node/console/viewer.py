"""OHIF behind the login: its files by a table that is made once, under a policy of their own.

What runs in the viewer shows objects of strangers, so that it may reach the archive's answers and its own files, and no
page of the console.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Final

from starlette.responses import FileResponse, Response

SCRIPTS: Final = Path(__file__).parent / "ohif"
"""Our scripts; one after the other they are OHIF's `app-config.js`."""
PAGE: Final = "/viewer"
LINK: Final = f"{PAGE}?StudyInstanceUIDs={{study}}&result={{result}}"
"""Template of the link to a result, as `[results] viewer` is one."""
INDEX: Final = "index.html"
MOST_FILES: Final = 5000
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".woff2": "font/woff2",
        ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".json": "application/json",
    }
)  # fmt: skip
"""Files that are served, by the end of their names; pages of OHIF other than its first are not."""
SETTINGS: Final = "/app-config.js"
_WORKERS: Final = frozenset({"/init-service-worker.js", "/sw.js"})
"""A service worker would stand between the browser and every page of the console: OHIF gets an empty one."""
_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_KEEP: Final = "private, max-age=3600"
_OURS: Final = """
window.config.showStudyList = false;
window.config.httpErrorHandler = error => { if (error && error.status === 401) location.reload(); };
"""
"""The console has the list: OHIF's own would ask the archive for every study. A login that ended is asked for again."""


def app_config(folder: Path) -> str:
    """Return OHIF's `app-config.js`: the scripts of a folder, one after the other."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js")))


@dataclass(frozen=True, slots=True)
class Viewer:
    """OHIF's files as they were found. index: its page, "" where there is none. inline: digests of the page's scripts."""

    index: str
    files: Mapping[str, Path]
    inline: tuple[str, ...] = ()
    settings: str = field(default_factory=lambda: app_config(SCRIPTS) + _OURS)

    @classmethod
    def of(cls, folder: Path) -> Viewer:
        """Look through a folder with the built OHIF; links to elsewhere and files of other kinds are left out."""
        try:
            index = (folder / INDEX).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return cls("", {})
        home = folder.resolve()
        found = {
            f"/{path.relative_to(folder).as_posix()}": path
            for path in sorted(folder.rglob("*"))
            if path.suffix in KINDS and path.is_file() and path.resolve().is_relative_to(home)
        }
        if len(found) > MOST_FILES:
            return cls("", {})
        return cls(index, found, tuple(_digest(s) for s in _SCRIPT.findall(index)))

    def holds(self, path: str) -> bool:
        """Return whether there is an answer to this address."""
        return path in {PAGE, SETTINGS, *_WORKERS} or path in self.files

    def answer(self, path: str, origin: str) -> Response:
        """Return what is at an address that `holds` knows. origin: scheme, name and port of this console."""
        headers = self._headers(origin)
        if path == PAGE:
            return Response(self.index, media_type="text/html", headers=headers)
        if path == SETTINGS:
            return Response(self.settings, media_type=KINDS[".js"], headers=headers)
        if path in _WORKERS:
            return Response("", media_type=KINDS[".js"], headers=headers)
        file = self.files[path]
        if not file.is_file():
            return Response(status_code=HTTPStatus.NOT_FOUND, headers=headers)
        kept = {**headers, "cache-control": _KEEP}
        return FileResponse(file, media_type=KINDS[file.suffix], headers=kept)

    def _headers(self, origin: str) -> dict[str, str]:
        return {
            "content-security-policy": self.policy(origin),
            # Another pair than the console's own: no page of it shares a window with the viewer.
            "cross-origin-embedder-policy": "require-corp",
        }

    def policy(self, origin: str) -> str:
        """Return the viewer's content security policy.

        OHIF compiles WebAssembly and texts, starts workers of blobs and writes styles. By script it reaches the archive's
        answers and its own compiled code: no page of the console, and nothing elsewhere.
        """
        compiled = (f"{origin}{path}" for path in self.files if path.endswith(".wasm"))
        return "; ".join(
            (
                "default-src 'none'",
                " ".join(("script-src 'self' 'unsafe-eval'", *self.inline)),
                "worker-src 'self' blob:",
                "style-src 'self' 'unsafe-inline'",
                "img-src 'self' data: blob:",
                "font-src 'self' data:",
                "manifest-src 'self'",
                " ".join((f"connect-src blob: data: {origin}/dicom-web/", *compiled)),
                "frame-src blob:",
                "object-src blob:",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            )
        )


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
