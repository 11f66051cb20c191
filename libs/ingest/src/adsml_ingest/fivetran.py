"""Fivetran's Facebook Ads tables: ``basic_ad``, its actions, and the histories of ads, ad sets and campaigns.

Columns as in Fivetran's own dbt source package (fivetran/dbt_facebook_ads_source, src_facebook_ads.yml). The
daily table knows ads only; their ad sets, campaigns and names come from the history tables beside it.
"""

from typing import Final

from adsml_ingest import breakdowns
from adsml_ingest.batch import Kind, Table
from adsml_ingest.options import Clicks, Format, ImportOptions
from adsml_ingest.sheet import Sheet

BASIC: Final = "basic_ad"
ACTIONS: Final = "basic_ad_actions"
VALUES: Final = "basic_ad_action_values"
HISTORIES: Final = {"campaign_history": 0, "ad_set_history": 1, "ad_history": 2}
ACCOUNT: Final = "account_history"
UNUSED: Final = ("creative_history", VALUES)
"""Tables of the connector that hold nothing for the store."""

_TABLES: Final = (BASIC, *HISTORIES, ACCOUNT, *UNUSED)
_CLICKS: Final = {Clicks.ALL: "clicks", Clicks.LINK: "inline_link_clicks"}


def table_of(sheet: Sheet) -> str | None:
    """Which of Fivetran's tables a sheet is: by a column of Fivetran's own or its file name, and its columns."""
    names = {name.strip().casefold() for name in sheet.names}
    stem = sheet.file.path.name.casefold()
    if not (any(name.startswith("_fivetran_") for name in names) or any(table in stem for table in _TABLES)):
        return None
    if {"ad_id", "date", "action_type", "value"} <= names:
        return VALUES if "action_values" in stem else ACTIONS
    if {"ad_id", "date", "spend", "impressions"} <= names and "entity_type" not in names:
        return BASIC
    if "id" in names and {"updated_time", "_fivetran_synced"} & names:
        return _history_of(names, stem)
    return None


def _history_of(names: set[str], stem: str) -> str:
    if "account_id" not in names:
        return ACCOUNT
    if "ad_set_id" in names:
        return "ad_history"
    if "campaign_id" in names:
        return "ad_set_history"
    return "creative_history" if "_fivetran_id" in names or "creative" in stem else "campaign_history"


def open_fivetran(sheet: Sheet, options: ImportOptions, *, with_actions: bool) -> Table:
    """The table behind one of Fivetran's tables but those in `UNUSED`.

    Raises `Refusal` if a column is missing, or leads can't be known: `with_actions` says whether the actions table is
    imported too.
    """
    name = table_of(sheet)
    if name == BASIC:
        return _basic(sheet, options, with_actions=with_actions)
    if name == ACTIONS:
        return _actions(sheet, options)
    if name in (*HISTORIES, ACCOUNT):
        return _history(sheet, name)
    what = f"is none of Fivetran's tables {BASIC}, {ACTIONS}, {', '.join(HISTORIES)}"
    raise sheet.refusal("unknown_table", what, "import those")


def _basic(sheet: Sheet, options: ImportOptions, *, with_actions: bool) -> Table:
    columns = {
        "ad_id": "ad_id", "adset_id": "adset_id", "campaign_id": "campaign_id", "ad_name": "ad_name",
        "date": "date", "spend": "spend", "impressions": "impressions", "reach": "reach",
        "campaign_name": "campaign_name", "adset_name": "adset_name", "account": "account_id",
        "currency": "account_currency", "stamp": "_fivetran_synced",
    }  # fmt: skip
    fields = sheet.positions(columns)
    notes: list[str] = []
    positions = {kind: sheet.position(name) for kind, name in _CLICKS.items()}
    clicks, click_kind = sheet.clicks(positions, options, notes, "sync the column clicks as well")
    fields |= clicks
    if not with_actions and "leads" not in options.assume_zero:
        what = f"has no leads: they are in the table {ACTIONS}"
        cure = "import both together (all files, or their directory), or pass --assume-zero leads"
        raise sheet.file.refusal("missing_table", what, cure)
    if not with_actions:
        notes.append(f"no table {ACTIONS}: leads are taken as 0, as asked")
    parts = sheet.positions({name: name for name in breakdowns.FIELDS})
    if parts:
        notes.append(f"broken down by {', '.join(parts)}: summed over them, unless a total stands beside it")
    table = _table(sheet, fields, BASIC, options, Kind.DAILY, notes, level=2)
    table.leads_of_cut = breakdowns.leads_of_fields
    table.click_kind = click_kind
    table.batches = lambda advance: sheet.read_parted(fields, parts, breakdowns.is_null, advance)
    return table


def _actions(sheet: Sheet, options: ImportOptions) -> Table:
    if "actions" not in sheet.file.path.name.casefold():
        what = f"could be {ACTIONS} (counts) or {VALUES} (money): they have the same columns"
        cure = f"name the file {ACTIONS}{sheet.file.path.suffix}, or leave it out"
        raise sheet.file.refusal("unknown_table", what, cure)
    columns = {
        "ad_id": "ad_id", "date": "date", "action_type": "action_type", "value": "value", "index": "index",
        "identity": "_fivetran_id", "stamp": "_fivetran_synced",
    }  # fmt: skip
    fields = sheet.positions(columns)
    return _table(sheet, fields, ACTIONS, options, Kind.ACTIONS, [], level=2)


def _history(sheet: Sheet, name: str) -> Table:
    if name == ACCOUNT:
        columns = {
            "id": "id", "name": "name", "currency": "currency", "time_zone": "timezone_name", "updated": "updated_time",
            "stamp": "_fivetran_synced",
        }  # fmt: skip
        return _table(sheet, sheet.positions(columns), name, ImportOptions(), Kind.ACCOUNTS, [], level=0)
    columns = {
        "id": "id", "adset_id": "ad_set_id", "campaign_id": "campaign_id", "account": "account_id",
        "name": "name", "status": "status", "objective": "objective", "updated": "updated_time",
        "stamp": "_fivetran_synced", "daily_budget": "daily_budget", "lifetime_budget": "lifetime_budget",
    }  # fmt: skip
    fields = sheet.positions(columns)
    return _table(sheet, fields, name, ImportOptions(), Kind.HISTORY, [], level=HISTORIES[name])


def _table(
    sheet: Sheet, fields: dict[str, int], source: str, options: ImportOptions, kind: Kind, notes: list[str], *,
    level: int,
) -> Table:  # fmt: skip
    return sheet.table(
        Format.FIVETRAN, options, fields, kind=kind, level=level, blanks=breakdowns.NULLS, notes=notes, source=source,
        blank_is_zero=frozenset({"spend", "impressions", "clicks", "leads", "value"}),
    )  # fmt: skip
