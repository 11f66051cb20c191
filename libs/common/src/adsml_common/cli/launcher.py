"""`adsml launcher`: makes Jobs of the training runs that services accept."""

from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from adsml_common.cli.context import open_database, settings


def launcher(
    namespace: Annotated[
        str,
        typer.Option(envvar="ADSML_LAUNCHER_NAMESPACE", help="Where the CronJobs are and Jobs are made."),
    ] = "adsml",
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            envvar="ADSML_LAUNCHER_METRICS_PORT",
            help="Where Prometheus reads.  [default: nowhere]",
            show_default=False,
        ),
    ] = None,
    every_seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="Between two looks at the record of runs.")
    ] = 5.0,
    start_seconds: Annotated[
        float,
        typer.Option(
            min=1,
            envvar="ADSML_LAUNCHER_START_SECONDS",
            help="A run that can't start for this long (no room, no image, no quota) has failed.",
        ),
    ] = 3600.0,
) -> None:
    r"""Make a Kubernetes Job of each training run that a service accepted, until stopped.

    Needs adsml-common\[kubernetes], and the right to read CronJobs, to make, list and delete Jobs, and to list
    pods and events.

    Example: adsml launcher --namespace adsml
    """  # fmt: skip
    from adsml_common.cli.training import exposed  # noqa: PLC0415
    from adsml_common.polled_gauges import PolledGauges  # noqa: PLC0415
    from adsml_common.serving import logs  # noqa: PLC0415
    from adsml_common.store.accounts import AccountStore  # noqa: PLC0415
    from adsml_common.store.freshness import account_gauges  # noqa: PLC0415
    from adsml_common.training.cluster import Cluster  # noqa: PLC0415
    from adsml_common.training.launcher import JobLauncher  # noqa: PLC0415
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415
    from adsml_common.training.signals import stop_on_signals  # noqa: PLC0415

    config = settings()
    logs.configure(form=config.log_format, level=config.log_level)
    with (
        stop_on_signals() as stop,
        open_database(config) as database,
        exposed(metrics_port),
        closing(PolledGauges(partial(account_gauges, AccountStore(database)), every_seconds=300)) as gauges,
    ):
        gauges.start()
        cluster = Cluster(namespace)
        JobLauncher(
            TrainingRuns(database), cluster, every_seconds=every_seconds, start_seconds=start_seconds
        ).run(stop)
