"""How exports are to be read, which column is which in the tables of a tool, and what an import did.

A profile is a TOML file: ``title``, ``leads`` (columns whose sum is the leads), and ``[columns]`` from a field of the
import to the tool's column; columns that a table lacks are passed over. Some are shipped, a caller may write their own.
"""

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path

from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, Violations
from adsml_common.store.counts import UpsertCounts

FIELDS = (
    "date", "date_stop", "campaign_id", "adset_id", "ad_id", "campaign_name", "adset_name", "ad_name",
    "campaign_status", "adset_status", "ad_status", "spend", "impressions", "clicks", "leads", "reach", "account",
    "account_name", "currency", "objective", "results", "indicator",
)  # fmt: skip
"""Fields that a column can be mapped to."""
_NEEDED = ("date", "spend", "impressions")
Progress = Callable[[str, int, int], None]
"""Told of every step, ``reading`` (bytes) or ``loading`` (daily rows): how many are done, of how many."""
ZEROABLE = ("clicks", "leads")
"""Columns that may be absent from an export and taken as 0 when the caller says so."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One tool's columns."""

    name: str
    title: str
    leads: tuple[str, ...]  # columns whose sum is the leads
    columns: tuple[tuple[str, str], ...]  # pairs of a field and its column


@cache
def shipped_profiles() -> dict[str, Profile]:
    """The profiles that come with adsml, by name."""
    folder = files("adsml_ingest").joinpath("profiles")
    names = sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml"))
    texts = {name: folder.joinpath(f"{name}.toml").read_text(encoding="utf-8") for name in names}
    return {name: _parsed(name, text) for name, text in texts.items()}


def load_profile(name: str) -> Profile:
    """A shipped profile by its name, or one by the path of its file; else raises `InvalidInput`."""
    known = shipped_profiles()
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


def profile_hint(names: Sequence[str]) -> str:
    """What to pass for a table that has the day, money, counts and leads of a shipped profile; else empty."""
    present = {name.strip().casefold() for name in names}
    for profile in shipped_profiles().values():
        columns = dict(profile.columns)
        needed = [columns[field] for field in _NEEDED if field in columns] + list(profile.leads)
        if all(name.casefold() in present for name in needed):
            return f"it looks like an export of {profile.title}: pass --profile {profile.name}"
    return ""


class Format(StrEnum):
    """Kinds of export."""

    INSIGHTS = "insights"
    ADS_MANAGER = "ads-manager"
    AIRBYTE = "airbyte"
    FIVETRAN = "fivetran"
    TIDY = "tidy"


class OnError(StrEnum):
    """What to do when a row is bad: load nothing, or load the others."""

    STOP = "stop"
    SKIP = "skip"


class DateOrder(StrEnum):
    """Order of day, month and year in dates that are not ISO."""

    DMY = "dmy"
    MDY = "mdy"
    YMD = "ymd"


class Clicks(StrEnum):
    """Which clicks to load where an export holds both: all of them, or those on links."""

    ALL = "all"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Settings of one import; what is None is found out from the file. Raises `InvalidInput` where none can work."""

    format: Format | None = None
    on_error: OnError = OnError.STOP
    decimal: str | None = None
    """``"."`` or ``","``; setting it also allows thousands separators. None: found out for Ads Manager files,
    plain numbers with a decimal point for all others."""
    date_order: DateOrder | None = None  # of dates that are not ISO
    encoding: str | None = None  # None: UTF-8, or what a byte-order mark says
    account_id: str | None = None  # only rows of this ad account, without act_ (which is dropped)
    clicks: Clicks | None = None  # None: all clicks where the export has them, else link clicks
    leads_columns: tuple[str, ...] = ()  # whose sum is the leads
    columns: tuple[tuple[str, str], ...] = ()  # pairs of a field and the column that holds it
    profile: Profile | None = None  # `columns` beat it
    lead_actions: tuple[str, ...] = ()  # whose sum is the leads, in place of lead or its two parts
    assume_zero: frozenset[str] = frozenset()  # of `ZEROABLE`: taken as 0 if the export lacks them
    sum_levels: bool = True  # build levels that an export lacks as sums of the level below
    allow_negative: bool = False  # load a negative spend, by which the platform corrects earlier days
    older_file: bool = False  # the files are older than what is stored: add missing days, replace none
    new_currency: bool = False  # the account's currency has changed, and the files are in the new one
    window: tuple[date, date] | None = None
    """First and last day wanted, and all that the source has of them: rows of other days are left out, and stored
    ones of these days that the files lack are deleted. None: all days, and what is stored stays."""
    rejects: Path | None = None  # directory for the files of rejected rows; None: they are only counted
    today: date | None = None  # None: in UTC. Accounts lie in zones up to 14 hours ahead: see `last_day`

    def __post_init__(self) -> None:
        if self.account_id is not None:
            object.__setattr__(self, "account_id", self.account_id.strip().removeprefix("act_"))
        found = Violations()
        if self.decimal not in (None, ".", ","):
            found.add("decimal", f"is '{self.decimal}'; expected '.' or ','")
        for name in sorted(self.assume_zero - set(ZEROABLE)):
            found.add("assume_zero", f"names '{name}'; only {' and '.join(ZEROABLE)} can be taken as 0")
        try:
            check_fields(field for field, _ in self.columns)
        except ValueError as error:
            found.add("column", str(error))
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError:
                what = f"'{self.encoding}' is not known; expected e.g. utf-8, utf-16 or cp1252"
                found.add("encoding", what)
        found.raise_if_any()

    @property
    def mapping(self) -> dict[str, str]:
        """Field to column, as the caller and the profile say."""
        return dict(self.profile.columns if self.profile else ()) | dict(self.columns)

    @property
    def lead_columns(self) -> tuple[str, ...]:
        """Columns whose sum is the leads, as the caller and the profile say."""
        mapped = tuple(column for field, column in self.columns if field == "leads")
        return self.leads_columns or mapped or (self.profile.leads if self.profile else ())

    @property
    def last_day(self) -> date:
        """The last day that is not in the future anywhere."""
        today = self.today or datetime.now(UTC).date()
        return date.fromordinal(today.toordinal() + 1)


@dataclass(frozen=True, slots=True)
class FileSummary:
    """One file of an import."""

    path: str
    format: Format | None
    table: str = ""  # which of that kind, where it has several
    rows: int = 0  # read, blank lines aside
    rejected: int = 0
    totals: int = 0  # these two: rows left out
    other_accounts: int = 0
    refused: str = ""  # why it was not read, or not to its end
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did."""

    files: tuple[FileSummary, ...]
    loaded: UpsertCounts  # daily rows; all zero for a trial
    entities: UpsertCounts
    rows: dict[EntityType, int]  # daily rows to load, one per entity and day, built ones included
    built: dict[EntityType, int]  # how many of them are sums
    entity_counts: dict[EntityType, int]  # entities met
    duplicates: int  # rows that said what another said
    superseded: int  # rows that a later fetch replaced
    summed: int  # rows of breakdowns that went into sums
    conflicts: int  # pairs of rows that contradicted each other; none of theirs is loaded
    untold: int  # daily rows whose leads no file tells
    first_day: date | None
    last_day: date | None
    currency: str | None
    problems: tuple[str, ...]  # the first few of each kind, in words
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    reject_files: tuple[Path, ...]
    seconds: float
    rows_read: int  # these two: of all files
    rows_rejected: int
