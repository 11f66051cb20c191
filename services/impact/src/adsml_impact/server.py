"""Wires the impact service: settings, store, servicer, server."""

import sys
from collections.abc import Callable
from typing import Final

import numpy as np
from adsml.impact.v1 import impact_service_pb2_grpc as impact_grpc
from adsml_common.database import Database
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings

from adsml_impact.account_data import StoredAccounts
from adsml_impact.comparison import Design, compare
from adsml_impact.own_past import compare_with_own_past
from adsml_impact.servicer import ImpactServicer
from adsml_impact.settings import ImpactSettings

SERVICE: Final = "adsml.impact.v1.ImpactService"


def warm() -> None:
    """Compile the loops, or load them compiled: the first caller need not wait for it."""
    Y = np.random.default_rng(0).poisson(50.0, (6, 70)).astype(np.float64)
    compare(Y, None, Design(change=63))
    compare(Y, Y + 1.0, Design(change=63))
    compare_with_own_past(Y[:2], None, Design(change=63))


def build(settings: ImpactSettings) -> ServerBuilder:
    """The server, ready to run.

    Raises
    ------
    SettingsError
        Naming the setting that can't work.
    """
    database = Database.open(settings.database_url, pool_size=settings.workers)
    servicer = ImpactServicer(StoredAccounts(database), attribution_lag_days=settings.attribution_lag_days)
    builder = ServerBuilder(settings)
    builder.add(impact_grpc.add_ImpactServiceServicer_to_server, servicer, SERVICE)
    steps: tuple[Callable[[], None], ...] = (database.require_schema, warm)
    for step in steps:
        builder.on_ready(step)
    return builder.on_drain(database.close).readiness("database", database.ping)


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(ImpactSettings)).run()


if __name__ == "__main__":
    sys.exit(main())
