"""What a physician opens in the viewer: its files, and the archive's answers about studies of this node."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from node.console import auth
from node.console.archive import Archive, FromArchive, said
from node.console.console import Console, Visitor
from node.console.question import question
from node.console.render import render_message
from node.console.viewer import Viewer
from node.deliver.dicomweb import FAULTS, DicomwebServer
from node.tls.credentials import Credentials

_ONLY: Final = "the viewer is for physicians; what an operator may do, nothing that runs in it may"


@dataclass(frozen=True, slots=True)
class Viewing:
    """OHIF's files and the archive behind them."""

    console: Console
    viewer: Viewer
    archive: Archive

    @classmethod
    def of(cls, console: Console) -> Viewing | None:
        """Return it as configured, None where it is not."""
        config = console.config
        found = next((d for d in config.destinations if d.name == config.web.archive), None)
        if not config.web.ohif or found is None or found.kind != "dicomweb":
            return None
        server = DicomwebServer.of(found, console.credentials or Credentials(config.tls))

        def is_known(study: str) -> bool:
            return bool(study) and bool(console.journal.series.of_study(study))

        return cls(console, Viewer.of(Path(config.web.ohif)), Archive(server, is_known))

    def file(self, request: Request, visitor: Visitor) -> Response:
        """Return a file of the viewer."""
        if not visitor.role.opens_viewer:
            return render_message(self.console, visitor, HTTPStatus.FORBIDDEN, _ONLY)
        if not self.viewer.index:
            text = "OHIF's files are not in the folder of [web] ohif, or cannot be read"
            return render_message(self.console, visitor, HTTPStatus.SERVICE_UNAVAILABLE, text)
        return self.viewer.answer(request.url.path, auth.origin(self.console, request))

    def ask(self, request: Request, visitor: Visitor) -> Response:
        """Judge what is asked of the archive; returns an answer that asks it when it is sent."""
        if not visitor.role.opens_viewer:
            return said(HTTPStatus.FORBIDDEN, _ONLY)
        if request.method != "GET":
            return said(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
        scope = request.scope
        asked = question(scope["raw_path"], scope["query_string"], request.headers)
        if asked is None:
            return said(HTTPStatus.NOT_FOUND, "no reading of DICOMweb")
        # A list of studies names none beforehand: of it those of this node are kept.
        if not (asked.is_list or asked.is_about(self.archive.is_known)):
            return said(HTTPStatus.FORBIDDEN, "only studies of this node are read")
        try:
            options = self.archive.options()
        except FAULTS as error:
            return said(HTTPStatus.BAD_GATEWAY, self.archive.server.fault_text(error))
        for study in asked.studies:
            self.console.opened(visitor, study)
        return FromArchive(self.archive, asked, options, auth.origin(self.console, request))
