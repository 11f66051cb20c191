"""Wires the anomaly service: settings, stores, models, service, server."""

import sys
from typing import Final, TypeAlias

from adsml_common.registry.loader import ModelLoader
from adsml_common.serving import family_server
from adsml_common.serving.family_server import Stores, add_family, add_models
from adsml_common.serving.feedback import FeedbackRecorder
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings
from adsml_common.store.feedback import FeedbackStore

from adsml_anomaly import warmup
from adsml_anomaly.account import AccountReader
from adsml_anomaly.artifacts import FAMILY, parse
from adsml_anomaly.assessor import Assessor
from adsml_anomaly.incident_store import IncidentStore
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.resolver import ScorerResolver
from adsml_anomaly.service import AnomalyService
from adsml_anomaly.settings import AnomalySettings
from adsml_anomaly.training.items import JOB

SERVICE: Final = "adsml.anomaly.v1.AnomalyService"
Opened: TypeAlias = family_server.Opened[AnomalyService, SeriesModel]


def open_service(settings: AnomalySettings) -> Opened:
    """Open stores and registry and put the service on them; a SettingsError names the setting that can't work."""
    stores = Stores.open(settings)
    database = stores.database
    models = ModelLoader(
        stores.registry,
        parse,
        poll_seconds=settings.poll_seconds,
        capacity=settings.models_in_memory,
        vetted=True,
    )
    resolver = ScorerResolver(database, models, history_days=settings.history_days)
    assessor = Assessor(AccountReader(database, settings), resolver, settings)
    feedback = FeedbackRecorder(FeedbackStore(database), FAMILY)
    return Opened(
        AnomalyService(assessor, feedback, IncidentStore(database), stores.page_tokens), stores, models
    )


def build(settings: AnomalySettings) -> ServerBuilder:
    """The server, ready to run; raises as `open_service`."""
    opened = open_service(settings)
    builder = ServerBuilder(settings)
    builder.add(opened.service, SERVICE)
    add_family(builder, opened.stores, families=(FAMILY,), jobs=(JOB,))
    return add_models(builder.on_ready(warmup.warm), opened.stores, opened.models, preload=(FAMILY,))


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(AnomalySettings)).run()


if __name__ == "__main__":
    sys.exit(main())
