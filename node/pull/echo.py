"""`echo` and `check-config`: which sources answer, and whether what they send by C-MOVE would be let in."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from node.config.pull import SourceConfig
from node.config.receive import CallerConfig
from node.config.sections import Config
from node.deliver.echo import EchoResult
from node.pull.factory import build_source
from node.pull.port import SourceFault
from node.receive.admission import caller_refusal
from node.tls.credentials import Credentials


def echo_sources(config: Config, name: str | None, credentials: Credentials) -> list[EchoResult]:
    """Ask every source, or the named one, side by side so that time-outs do not add up."""
    asked = [s for s in config.pull.source if name in {None, s.name}]
    if not asked:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(asked))) as pool:
        return list(pool.map(lambda s: _ask(s, config, credentials), asked))


def _ask(source: SourceConfig, config: Config, credentials: Credentials) -> EchoResult:
    try:
        text = build_source(source, config, credentials).echo()
        refusal = why_refused(source, config.receive.caller)
    except SourceFault as error:
        return EchoResult(source.name, False, f"source {source.name}: {error}")
    except Exception as error:  # noqa: BLE001 - the others are asked all the same
        # Never the error's own text: they may quote a URL or a header with its secret.
        text = f"source {source.name}: unexpected {type(error).__name__}; check its configuration"
        return EchoResult(source.name, False, text)
    if refusal:
        text = (
            f"source {source.name}: {text}, but what it sends would be refused: {refusal}; add it"
        )
        return EchoResult(source.name, False, text)
    return EchoResult(source.name, True, text)


def why_refused(source: SourceConfig, callers: Sequence[CallerConfig]) -> str:
    """Return why the node would not let in what a source sends by C-MOVE, "" when it would, or need not."""
    if source.kind != "dicom-move" or not callers:
        return ""
    certificates = {
        c.certificate.lower() for c in callers
    }  # which it has, only its connection shows
    refusals = [
        caller_refusal(callers, address, source.ae_title, certificates)
        for address in _addresses(source.host)
    ]
    return "" if "" in refusals else next(iter(refusals), f"{source.host} has no address")


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
