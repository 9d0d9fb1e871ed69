"""Options by which a command reaches the workers of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cluster.certificates import Files

SchedulerOption = Annotated[
    str, typer.Option("--scheduler", help="Address of the scheduler, tls://HOST:PORT.")
]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--certificate", help="This machine's certificate in the cluster, PEM."),
]
PrivateKeyOption = Annotated[
    Path | None,
    typer.Option("--private-key", help="Its private key, PEM, closed to other users."),
]
TrustedOption = Annotated[
    Path | None, typer.Option("--trusted", help="The cluster's own authority, PEM.")
]


def reach(
    scheduler: str, certificate: Path | None, private_key: Path | None, trusted: Path | None
) -> Files | None:
    """Check an address and the files for it; None: loopback without certificates.

    Raises:
        UsageError: an address that is open to others, or a file that is missing.
        NotInstalled: the extra is not installed.
    """
    from cluster.address import check_address, is_encrypted
    from cluster.certificates import Files
    from cluster.extra import what_is_missing
    from training.errors import NotInstalled, UsageError

    if not scheduler:
        raise UsageError("--scheduler is missing; give the address of `lumbar-node scheduler`")
    try:
        check_address(scheduler)
    except ValueError as error:
        raise UsageError(f"--scheduler: {error}") from error
    missing = what_is_missing()
    if missing:
        raise NotInstalled(missing)
    files = {"--certificate": certificate, "--private-key": private_key, "--trusted": trusted}
    absent = [option for option, file in files.items() if file is None]
    if absent and (is_encrypted(scheduler) or len(absent) < len(files)):
        raise UsageError(
            f"{', '.join(absent)} missing: both ends of a connection show a certificate;"
            " give those of [cluster] of this machine"
        )
    if certificate is None or private_key is None or trusted is None:
        return None
    return Files(certificate, private_key, (trusted,))
