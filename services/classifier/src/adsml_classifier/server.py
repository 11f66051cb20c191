"""Wires the classifier service: settings, stores, models, service, server."""

import sys
from typing import Final, TypeAlias

from adsml_common.registry.loader import ModelLoader
from adsml_common.serving import family_server
from adsml_common.serving.family_server import Stores, add_family, add_models
from adsml_common.serving.feedback import FeedbackRecorder
from adsml_common.serving.server import ServerBuilder
from adsml_common.settings import load_settings
from adsml_common.store.feedback import FeedbackStore

from adsml_classifier.accounts import AccountData
from adsml_classifier.artifacts import FAMILY, JOB, StoredModel, parse_warmed
from adsml_classifier.resolver import ProvenanceResolver
from adsml_classifier.service import ClassifierService
from adsml_classifier.settings import ClassifierSettings

SERVICE: Final = "adsml.classifier.v1.ClassifierService"
OpenService: TypeAlias = family_server.Opened[ClassifierService, StoredModel]


def open_service(settings: ClassifierSettings) -> OpenService:
    """Open stores and registry and put the service on them; `SettingsError` names a setting that can't work."""
    stores = Stores.open(settings)
    models = ModelLoader(
        stores.registry,
        parse_warmed,
        poll_seconds=settings.poll_seconds,
        capacity=settings.models_in_memory,
        vetted=True,
    )
    service = ClassifierService(
        AccountData(
            stores.database,
            capacity=settings.accounts_in_memory,
            max_age_seconds=settings.data_max_age_seconds,
        ),
        ProvenanceResolver(
            models,
            stores.registry,
            confidence_factor=settings.transfer_confidence_factor,
            max_age_seconds=settings.poll_seconds,
        ),
        FeedbackRecorder(FeedbackStore(stores.database), FAMILY),
        attribution_lag_days=settings.attribution_lag_days,
        cache_responses=settings.cache_responses,
    )
    return OpenService(service, stores, models)


def build(settings: ClassifierSettings) -> ServerBuilder:
    """The server, ready to run; errors as of `open_service`."""
    opened = open_service(settings)
    builder = ServerBuilder(settings)
    builder.add(
        opened.service,
        SERVICE,
        fast_path={
            "Classify": opened.service.classify_from_memory,
            "BatchClassify": opened.service.batch_classify_from_memory,
        },
    )
    add_family(builder, opened.stores, families=(FAMILY,), jobs=(JOB,))
    return add_models(builder, opened.stores, opened.models, preload=(FAMILY,))


def main() -> int:
    """Serve until SIGTERM; the process' exit status."""
    return build(load_settings(ClassifierSettings)).run()


if __name__ == "__main__":
    sys.exit(main())
