"""How an export is to be read."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

from adsml_common.domain.errors import Violations

from adsml_ingest.profiles import Profile, check_fields

Progress = Callable[[str, int, int], None]
"""Told of every step, ``reading`` (bytes) or ``loading`` (daily rows): how many are done, of how many."""


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


ZEROABLE = ("clicks", "leads")
"""Columns that may be absent from an export and taken as 0 when the caller says so."""


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
    account_id: str | None = None  # only rows of this ad account, as the platform writes it (act_ is dropped)
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
                found.add(
                    "encoding", f"'{self.encoding}' is not known; expected e.g. utf-8, utf-16 or cp1252"
                )
        found.raise_if_any()

    @property
    def mapping(self) -> dict[str, str]:
        """Field to column, as the caller and the profile say."""
        return dict(self.profile.columns if self.profile else ()) | dict(self.columns)

    def is_explicit(self, field: str) -> bool:
        """Whether the caller named a field's column; a profile's may be absent."""
        return any(name == field for name, _ in self.columns)

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
