"""Profiles: which column is which in the tables of a tool. Some are shipped, a caller may write their own.

A profile is a TOML file: ``title``, ``leads`` (columns whose sum is the leads), and ``[columns]`` from a field of the
import to the tool's column; columns that a table lacks are passed over.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from adsml_common.domain.errors import InvalidInput

FIELDS = (
    "date", "date_stop", "campaign_id", "adset_id", "ad_id", "campaign_name", "adset_name", "ad_name",
    "campaign_status", "adset_status", "ad_status", "spend", "impressions", "clicks", "leads", "reach", "account",
    "account_name", "currency", "objective", "results", "indicator",
)  # fmt: skip
"""Fields that a column can be mapped to."""
_NEEDED = ("date", "spend", "impressions")


@dataclass(frozen=True, slots=True)
class Profile:
    """One tool's columns."""

    name: str
    title: str
    leads: tuple[str, ...]  # columns whose sum is the leads
    columns: tuple[tuple[str, str], ...]  # pairs of a field and its column


@cache
def shipped() -> tuple[Profile, ...]:
    """The profiles that come with adsml."""
    folder = files("adsml_ingest").joinpath("profiles")
    names = sorted(one.name for one in folder.iterdir() if one.name.endswith(".toml"))
    return tuple(
        _parsed(name.removesuffix(".toml"), folder.joinpath(name).read_text(encoding="utf-8"))
        for name in names
    )


def load(name: str) -> Profile:
    """A shipped profile by its name, or one by the path of its file; else raises `InvalidInput`."""
    known = {profile.name: profile for profile in shipped()}
    if name in known:
        return known[name]
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = f"'{name}' is none of {', '.join(known)}, and no file of one: {error}"
        raise InvalidInput.at("profile", what) from None
    try:
        return _parsed(path.stem, text)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput.at(str(path), f"is no profile: {error}") from None


def _parsed(name: str, text: str) -> Profile:
    values = tomllib.loads(text)
    columns = tuple((str(field), str(column)) for field, column in values.get("columns", {}).items())
    check_fields(field for field, _ in columns)
    leads = tuple(str(column) for column in values.get("leads", ()))
    return Profile(name, str(values.get("title", name)), leads, columns)


def check_fields(fields: Iterable[str]) -> None:
    """Raise a `ValueError` that names the fields that no column can be mapped to."""
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise ValueError(f"there is no field {', '.join(unknown)}; expected {', '.join(FIELDS)}")


def matching(names: Sequence[str]) -> Profile | None:
    """The shipped profile whose day, money, counts and leads a table has."""
    present = {name.strip().casefold() for name in names}
    for profile in shipped():
        columns = dict(profile.columns)
        needed = [columns[field] for field in _NEEDED if field in columns] + list(profile.leads)
        if all(name.casefold() in present for name in needed):
            return profile
    return None
