"""`lumbar-train worker`: train folds of a cross-validation for another machine."""

from __future__ import annotations

from typing import Annotated

import typer

from training.cli.options import CasesOption
from training.cli.workers import (
    CertificateOption,
    PrivateKeyOption,
    SchedulerOption,
    TrustedOption,
    reach,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    cases: CasesOption,
    scheduler: SchedulerOption = "",
    certificate: CertificateOption = None,
    private_key: PrivateKeyOption = None,
    trusted: TrustedOption = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 = any.")
    ] = 0,
) -> None:
    """Train folds for `crossval --engine dask` on another machine.

    It trains one fold at a time, on the cases that lie here: a copy of the folder that crossval reads, in any place. Its digest is compared, and a worker whose cases, program,
    Python or torch differ gets no fold. It keeps nothing. It ends when the scheduler does.

    \b
    Examples:
      lumbar-train worker --cases cases --scheduler tls://10.1.2.3:8786 \\
        --certificate gpu1.crt --private-key gpu1.key --trusted cluster-ca.crt
      CUDA_VISIBLE_DEVICES=1 lumbar-train worker --cases cases \\
        --scheduler tcp://127.0.0.1:8786

    \b
    Exit status: 0 stopped in order, 2 address, certificates or no Dask, 4 no
    cases, 5 the scheduler is away, 6 shipped bundle.
    """
    files = reach(scheduler, certificate, private_key, trusted)
    from training.spread.program import run_worker

    code = run_worker(scheduler, files, cases, port, lambda at: typer.echo(f"worker at {at}"))
    if code:
        raise typer.Exit(code)
