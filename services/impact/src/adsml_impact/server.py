"""Wires the impact service: settings, store, servicer, server."""

import sys
from typing import Final, NamedTuple

import numpy as np
from adsml_common.database import Database
from adsml_common.serving.family_server import Stores, add_family
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings

from adsml_impact.account_data import StoredAccounts
from adsml_impact.models.comparison import compare
from adsml_impact.models.design import Design
from adsml_impact.models.own_past import compare_with_own_past
from adsml_impact.service import ImpactService
from adsml_impact.settings import ImpactSettings

FAMILY: Final = "impact"
SERVICE: Final = "adsml.impact.v1.ImpactService"


def warm() -> None:
    """Compile the loops, or load them compiled: the first caller need not wait for it."""
    Y = np.random.default_rng(0).poisson(50.0, (6, 70)).astype(np.float64)
    compare(Y, None, Design(change=63))
    compare(Y, Y + 1.0, Design(change=63))
    compare_with_own_past(Y[:2], None, Design(change=63))


class OpenedService(NamedTuple):
    """The service and what it stands on."""

    service: ImpactService
    stores: Stores
    database: Database

    def close(self) -> None:
        """Close the connections."""
        self.database.close()


def open_service(settings: ImpactSettings) -> OpenedService:
    """The service on the settings' stores, for whoever asks in this process."""
    stores = Stores.open(settings)
    service = ImpactService(
        StoredAccounts(stores.database),
        attribution_lag_days=settings.attribution_lag_days,
        equivalence_margin=settings.equivalence_margin,
    )
    return OpenedService(service, stores, stores.database)


def build(settings: ImpactSettings) -> ServerBuilder:
    """The server, ready to run."""
    opened = open_service(settings)
    builder = ServerBuilder(settings)
    builder.add(opened.service, SERVICE)
    # Nothing is trained here. Like every family this one says so when asked, instead of not knowing the question.
    return add_family(builder, opened.stores, families=(FAMILY,)).on_ready(warm)


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(ImpactSettings)).run()


if __name__ == "__main__":
    sys.exit(main())
