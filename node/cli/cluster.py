"""`scheduler` and `worker`: the programs of a cluster that computes for the node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import ConfigOption, read_config
from node.cli.output import leave_with, print_line

if TYPE_CHECKING:
    from node.config.cluster import ClusterConfig
    from node.config.sections import Config


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("scheduler")(scheduler)
    app.command("worker")(worker)


def scheduler(
    listen: Annotated[
        str, typer.Option("--listen", help="Address to listen on, tls://HOST:PORT.")
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Run the scheduler that gives series to workers.

    It listens where [cluster] scheduler says. Beyond loopback it speaks TLS only, and takes only
    callers with a certificate of [cluster] trusted: who reaches it runs programs on every worker.

    \b
    Examples:
      lumbar-node scheduler
      lumbar-node scheduler --listen tls://0.0.0.0:8786

    \b
    Exit status: 0 stopped in order, 2 configuration, certificates or port.
    """
    from node.cluster.extra import require_extra

    settings = _cluster(config)
    address = _checked(settings, listen or settings.scheduler, "--listen")
    require_extra()
    from node.cluster.programs import run_scheduler

    leave_with(run_scheduler(settings, address, lambda at: print_line(f"scheduler at {at}")))


def worker(
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="Address of the scheduler, tls://HOST:PORT.")
    ] = "",
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Model bundle; default: that of [model].")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 = any.")
    ] = 0,
    config: ConfigOption = None,
) -> None:
    """Compute series for a node on another machine.

    It takes one series at a time, with the bundle that is here.
    Start one per GPU, each with its own CUDA_VISIBLE_DEVICES. It needs no state folder and writes
    nothing. It ends when the scheduler does, and its service manager starts it again.

    \b
    Examples:
      lumbar-node worker --scheduler tls://10.1.2.3:8786
      CUDA_VISIBLE_DEVICES=1 lumbar-node worker

    \b
    Exit status: 0 stopped in order, 2 configuration or certificates, 5 the
    scheduler is away, 6 model or bundle.
    """
    from node.cluster.extra import require_extra

    settings = read_config(config, required=False)
    cluster = settings.cluster
    address = _checked(cluster, scheduler or cluster.scheduler, "--scheduler")
    require_extra()
    cluster = cluster.model_copy(update={"scheduler": address})
    leave_with(_serve(settings, cluster, bundle, port))


def _serve(settings: Config, cluster: ClusterConfig, bundle: Path | None, port: int) -> int:
    from node.cluster.programs import run_worker
    from node.work.load_model import load_model
    from node.work.warm import warm_networks

    model = load_model(settings.model, path=bundle)
    warm_networks(model)
    what = f"{model.info.name} {model.info.version} {model.info.digest[:12]} on {model.info.engine}"
    return run_worker(cluster, model, port, lambda at: print_line(f"worker at {at}: {what}"))


def _cluster(config: Path | None) -> ClusterConfig:
    return read_config(config, required=False).cluster


def _checked(cluster: ClusterConfig, address: str, option: str) -> str:
    """Return an address that may be used. Raises typer.BadParameter."""
    from cluster.address import check_address, is_encrypted

    if not address:
        raise typer.BadParameter(f"no address; give {option}, or set [cluster] scheduler")
    try:
        check_address(address)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
    if is_encrypted(address) and not cluster.trusted:
        raise typer.BadParameter(
            f"{address} needs [cluster] certificate, private_key and trusted; set them",
            param_hint=option,
        )
    return address
