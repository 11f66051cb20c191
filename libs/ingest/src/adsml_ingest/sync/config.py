"""Which account comes from where: a small TOML file."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Final

from adsml_common.domain.errors import InvalidInput, Unavailable, Violations

from adsml_ingest.importer import Fetched
from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions, OnError, load_profile

LOOK_BACK_DAYS: Final = 28
"""Meta restates the results of a day for as long as its longest attribution window, 28 days."""
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "format": Format, "on_error": OnError, "decimal": str, "date_order": DateOrder, "encoding": str,
    "account_id": str, "clicks": Clicks, "leads_columns": tuple, "lead_actions": tuple, "assume_zero": frozenset,
    "columns": lambda columns: tuple(columns.items()), "profile": load_profile, "allow_negative": bool,
}  # fmt: skip
"""Options of the file, and how they become those of an import."""


@dataclass(frozen=True, slots=True)
class AccountSource:
    """Where one account's rows come from."""

    config_id: int
    source: str  # URL: s3://, gs:// or file:// with globs, a database's, or meta://act_<id>
    look_back_days: int = LOOK_BACK_DAYS  # days up to yesterday that are fetched and replaced
    tables: tuple[str, ...] = ()  # of a database: schema.table, the daily one first
    storage: Mapping[str, Any] = field(default_factory=dict)  # fsspec's options of the object store
    changes: bool = True  # whether the change log comes along, where the source has one
    options: ImportOptions = field(default_factory=ImportOptions)

    @property
    def shown(self) -> str:
        """The source without passwords and queries, for messages and the store."""
        scheme, sign, rest = self.source.partition("://")
        rest = rest.partition("?")[0]
        return f"{scheme}{sign}{rest.rpartition('@')[2]}"


Source = Callable[[AccountSource, date, date, Path], Fetched]
"""What an account's source holds of the days from first to last, both included, in files below a directory.

Raises `SourceUnavailable`, which says why, and what to do.
"""


class SourceUnavailable(Unavailable):
    """A source that can't be read: gone, refused, or out of patience."""


def load_sources(path: Path | None, environment: Mapping[str, str] = os.environ) -> list[AccountSource]:
    """The accounts of a file, or of the variable ADSML_SYNC_SOURCES, which holds its text.

    ``${NAME}`` stands for an environment variable, so that the file holds no secret. Raises `InvalidInput` that names
    everything that is wrong.
    """
    name = str(path) if path else "ADSML_SYNC_SOURCES"
    try:
        text = path.read_text(encoding="utf-8") if path else environment.get("ADSML_SYNC_SOURCES", "")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput.at(name, f"can't be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput.at(name, f"is not TOML: {error}") from None
    found = Violations()
    entries = values.get("account")
    if not isinstance(entries, list) or not entries:
        raise InvalidInput.at(name, "names no account; expected [[account]] with config_id and source")
    sources: list[AccountSource] = []
    for index, entry in enumerate(entries):
        where = f"{name}: account[{index}]"
        try:
            sources.append(_account(_filled(entry, environment)))
        except (ValueError, TypeError) as error:
            found.add(where, str(error))
        except InvalidInput as error:
            for violation in error.violations:
                found.add(f"{where}.options.{violation.path}", violation.description)
    ids = [one.config_id for one in sources]
    for config_id in sorted({one for one in ids if ids.count(one) > 1}):
        times = ids.count(config_id)
        found.add(name, f"config_id {config_id} is there {times} times; an account has one source")
    found.raise_if_any()
    return sources


def _filled(entry: Any, environment: Mapping[str, str]) -> Any:
    """An account's entry with its variables filled in."""

    def fill(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise ValueError(f"the environment variable {match[1]} is not set")
        return json.dumps(environment[match[1]])[1:-1]

    return json.loads(_VARIABLE.sub(fill, json.dumps(entry, default=str)))


def _account(entry: Mapping[str, Any]) -> AccountSource:
    known = {one.name for one in fields(AccountSource)}
    if unknown := sorted(set(entry) - known):
        raise ValueError(f"{', '.join(unknown)}: no such setting; expected {', '.join(sorted(known))}")
    config_id, source = entry.get("config_id"), entry.get("source")
    if not isinstance(config_id, int) or config_id < 1:
        raise ValueError("config_id is missing, or no positive whole number")
    if not isinstance(source, str) or "://" not in source:
        raise ValueError("source is missing, or no URL")
    days = entry.get("look_back_days", LOOK_BACK_DAYS)
    if not isinstance(days, int) or not 1 <= days <= 1_100:
        raise ValueError("look_back_days is no whole number from 1 to 1100")
    options = entry.get("options", {})
    if unknown := sorted(set(options) - _OPTIONS.keys()):
        raise ValueError(
            f"options.{', '.join(unknown)}: no such option; expected {', '.join(sorted(_OPTIONS))}"
        )
    chosen = ImportOptions(**{name: _OPTIONS[name](value) for name, value in options.items()})
    return AccountSource(
        config_id, source, days, tuple(entry.get("tables", ())), dict(entry.get("storage", {})),
        bool(entry.get("changes", True)), chosen,
    )  # fmt: skip
