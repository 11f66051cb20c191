"""Settings: where they come from, how a bad one is told, what is never printed."""

from pathlib import Path

import pytest
from adsml_common.settings import Settings, SettingsError, load_settings, masked_url
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class ServiceSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="ADSML_CLASSIFIER_")

    port: int = Field(default=50051, ge=1, le=65535)
    signing_key: SecretStr = SecretStr("")
    token_file: Path = Path("token")


class NeedsRegion(Settings):
    model_config = SettingsConfigDict(env_prefix="ADSML_CLASSIFIER_")

    region: str


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("ADSML_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    found = load_settings(Settings)
    assert found.database_url == "sqlite:///adsml-data/adsml.db"
    assert found.artifact_url == "adsml-data/artifacts"
    assert found.cache_dir == Path("adsml-data/cache")


def test_a_service_keeps_the_shared_names_and_adds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", "postgresql://db/adsml")
    monkeypatch.setenv("ADSML_CLASSIFIER_PORT", "6000")
    monkeypatch.setenv("ADSML_CLASSIFIER_DATABASE_URL", "sqlite:///elsewhere.db")
    found = load_settings(ServiceSettings)
    assert (found.database_url, found.port) == ("postgresql://db/adsml", 6000)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("ADSML_CLASSIFIER_PORT", "many", "valid integer"),
        ("ADSML_CLASSIFIER_PORT", "70000", "less than or equal to 65535"),
        ("ADSML_LOG_FORMAT", "xml", "'text' or 'json'"),
        ("ADSML_DATABASE_URL", "  ", "is empty"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_reason(
    variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        load_settings(ServiceSettings)
    assert error.value.message.startswith(f"{variable}={value}: ")
    assert reason in error.value.message


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_CLASSIFIER_PORT", "many")
    monkeypatch.setenv("ADSML_LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError, match=r"ADSML_LOG_LEVEL=LOUD.*ADSML_CLASSIFIER_PORT=many"):
        load_settings(ServiceSettings)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="ADSML_CLASSIFIER_REGION is not set"):
        load_settings(NeedsRegion)


def test_masked_shows_everything_but_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", "postgresql://ada:hunter2@db:5432/adsml?sslpassword=hunter2")
    monkeypatch.setenv("ADSML_CLASSIFIER_SIGNING_KEY", "hunter2")
    monkeypatch.setenv("ADSML_CLASSIFIER_TOKEN_FILE", "/var/run/token")
    shown = load_settings(ServiceSettings).masked()
    assert "hunter2" not in str(shown)
    assert shown["ADSML_DATABASE_URL"] == "postgresql://ada:***@db:5432/adsml?sslpassword=***"
    assert shown["ADSML_CLASSIFIER_SIGNING_KEY"] == "***"
    assert shown["ADSML_CLASSIFIER_TOKEN_FILE"] == "/var/run/token"  # a path
    assert shown["ADSML_CLASSIFIER_PORT"] == "50051"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///adsml-data/adsml.db", "sqlite:///adsml-data/adsml.db"),
        ("sqlite:////var/adsml.db", "sqlite:////var/adsml.db"),
        ("postgresql://db/adsml", "postgresql://db/adsml"),
        ("postgresql://ada@db/adsml", "postgresql://ada@db/adsml"),
        ("postgresql://ada:a%40b@db/adsml", "postgresql://ada:***@db/adsml"),
        ("postgresql://ada:a@b@db/adsml", "postgresql://ada:***@db/adsml"),
        ("postgresql:///adsml?host=/run/pg&password=x", "postgresql:///adsml?host=/run/pg&password=***"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("postgresql://[broken:secret", "***"),
    ],
)
def test_masked_url(url: str, shown: str) -> None:
    assert masked_url(url) == shown
