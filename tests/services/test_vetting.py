"""Every family's models are parsed in a child first, and may unpack to what its models need."""

import importlib
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.models import Candidate
from adsml_common.registry.registry import ModelRegistry
from support.families import settings_of

MODELS = {
    "classifier": ("classifier/1", "xgboost_classifier"),
    "anomaly": ("anomaly/1/adset", "anomaly_profile"),
    "forecasting": ("prophet/1/leads", "prophet"),
}
MOST_MIB = {"classifier": 64, "anomaly": 4, "forecasting": 4}


@pytest.fixture
def dialect() -> str:
    return "sqlite"


@pytest.mark.parametrize("family", MODELS)
def test_what_is_no_model_is_found_out_in_a_child(
    family: str, database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = settings_of(family, database_url=database_url, folder=tmp_path)
    registry = ModelRegistry.open(database, settings)
    name, kind = MODELS[family]

    def activated(data: bytes) -> None:
        version = registry.register(Candidate(name, kind, 1, {"model.json": b"[]", "numbers.bin": data}))
        registry.activate(name, version.version, actor="test", reason="hostile")

    activated(b"")
    opened = importlib.import_module(f"adsml_{family}.server").open_service(settings)
    try:
        with pytest.raises(ArtifactCorrupt, match=f"{name} version 1 can't be parsed"):
            opened.models.get(name)
        if MOST_MIB[family] < 64:  # more than that is not even activated
            activated(bytes(MOST_MIB[family] << 20))
            opened.models.prefetch([name])
            opened.models.refresh()
            with pytest.raises(ArtifactCorrupt, match=f"unpacks to more than {MOST_MIB[family]} MiB"):
                opened.models.get(name)
    finally:
        opened.close()
        registry.close()
