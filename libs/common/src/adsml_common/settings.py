"""Settings from the environment: one typed class per process, read once, printed with secrets masked."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import Field, FilePath, SecretBytes, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from adsml_common.domain.errors import AdsmlError

MASK = "***"
_SECRET_NAME = re.compile(r"passw|secret|token|credential|api_?key|access_?key|private", re.IGNORECASE)


class SettingsError(AdsmlError):
    """A setting is missing or can't work; names the variable, the reason and the cure."""

    reason = "BAD_SETTING"


class Settings(BaseSettings):
    """What every process of adsml needs to know.

    A process with settings of its own derives from this class and gives them a prefix of their own
    (``SettingsConfigDict(env_prefix="ADSML_CLASSIFIER_")``); the ones below keep their names.

    Attributes
    ----------
    database_url
        ``ADSML_DATABASE_URL``: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
    artifact_url
        ``ADSML_ARTIFACT_URL``: where trained models lie: a folder, ``file://``, ``s3://bucket/prefix``.
    cache_dir
        ``ADSML_CACHE_DIR``: folder for copies of models; may be lost at any time.
    model_signing_key_file
        ``ADSML_MODEL_SIGNING_KEY_FILE``: PEM file of an Ed25519 private key that models are signed with; for trainers.
    model_trusted_keys_file
        ``ADSML_MODEL_TRUSTED_KEYS_FILE``: PEM file of Ed25519 public keys; a model must be signed by one of them.
    log_format
        ``ADSML_LOG_FORMAT``: ``text`` for people, ``json`` for machines.
    log_level
        ``ADSML_LOG_LEVEL``: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_", populate_by_name=True, extra="ignore", frozen=True)

    database_url: str = Field(default="sqlite:///adsml-data/adsml.db", validation_alias="ADSML_DATABASE_URL")
    artifact_url: str = Field(default="adsml-data/artifacts", validation_alias="ADSML_ARTIFACT_URL")
    cache_dir: Path = Field(default=Path("adsml-data/cache"), validation_alias="ADSML_CACHE_DIR")
    model_signing_key_file: FilePath | None = Field(
        default=None, validation_alias="ADSML_MODEL_SIGNING_KEY_FILE"
    )
    model_trusted_keys_file: FilePath | None = Field(
        default=None, validation_alias="ADSML_MODEL_TRUSTED_KEYS_FILE"
    )
    log_format: Literal["text", "json"] = Field(default="text", validation_alias="ADSML_LOG_FORMAT")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", validation_alias="ADSML_LOG_LEVEL"
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url", "artifact_url")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; unset it to get the default, or give a URL")
        return value

    def masked(self) -> dict[str, str]:
        """Every setting by the name of its variable, fit for printing: passwords and secrets are ``***``."""
        names = variables(type(self))
        return {names[name]: _shown(name, getattr(self, name)) for name in type(self).model_fields}


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(cls: type[SettingsT]) -> SettingsT:
    """Read the settings of a process from its environment.

    Raises `SettingsError` naming every variable that is missing or bad and why, but no secret's value.
    """
    try:
        return cls()
    except ValidationError as error:
        names = variables(cls)
        told = [_told(detail, names) for detail in error.errors(include_url=False)]
        raise SettingsError("; ".join(told)) from None


def variables(cls: type[Settings]) -> dict[str, str]:
    prefix = cls.model_config.get("env_prefix", "")
    return {
        name: field.validation_alias if isinstance(field.validation_alias, str) else f"{prefix}{name}".upper()
        for name, field in cls.model_fields.items()
    }


def masked_url(url: str) -> str:
    """The URL without its password, whether that stands before the host or among the parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        netloc = f"{name}{colon}{MASK if colon else ''}@{host}"
    query = parts.query
    if query:
        pairs = parse_qsl(query, keep_blank_values=True)
        shown = [(key, MASK if _SECRET_NAME.search(key) else value) for key, value in pairs]
        query = urlencode(shown, safe="*/:")
    # urlunsplit drops the empty host of sqlite:///file
    if not netloc and url.startswith(f"{parts.scheme}://"):
        return f"{parts.scheme}://{parts.path}" + (f"?{query}" if query else "")
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def _shown(name: str, value: object) -> str:
    # A file that holds a key is not a secret itself, and its name is what one wants to see.
    hides = value and _SECRET_NAME.search(name) and not isinstance(value, Path)
    if hides or isinstance(value, SecretStr | SecretBytes):
        return MASK
    if isinstance(value, str) and "://" in value:
        return masked_url(value)
    return str(value)


def _told(detail: ErrorDetails, names: Mapping[str, str]) -> str:
    place = str(detail["loc"][0]) if detail["loc"] else ""
    variable = names.get(place, place) or "settings"
    if detail["type"] == "missing":
        return f"{variable} is not set; it has no default"
    reason = detail["msg"].removeprefix("Value error, ")
    value = detail["input"]
    if not isinstance(value, str) or _SECRET_NAME.search(variable):
        return f"{variable}: {reason}"
    return f"{variable}={_shown('', value)}: {reason}"
