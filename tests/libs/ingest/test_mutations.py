"""Good exports, damaged as people and tools damage them: refused, or loaded with the same totals, or not without a word."""

import csv
import io
import json
import random
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from adsml_common.domain.errors import AdsmlError
from adsml_ingest import ImportOptions, ImportSummary, OnError, import_files
from adsml_ingest.importer import scratch_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.exports import insights_rows, make_account

ROWS = insights_rows(make_account(days=3))
SPEND = round(sum(float(one["spend"]) for one in ROWS), 6)
LEADS = sum(
    float(action["value"])
    for one in ROWS
    for action in one.get("actions", ())
    if action["action_type"] == "lead"
)
Table = list[list[str]]


def report() -> Table:
    """The same rows as Ads Manager writes them."""
    header = ["Campaign ID", "Campaign name", "Ad set ID", "Ad set name", "Ad ID", "Ad name", "Day"]
    table = [[*header, "Amount spent (EUR)", "Impressions", "Clicks (all)", "Leads"]]
    for one in ROWS:
        leads = next((a["value"] for a in one.get("actions", ()) if a["action_type"] == "lead"), "0")
        names = ("campaign_id", "campaign_name", "adset_id", "adset_name", "ad_id", "ad_name", "date_start")
        table.append([*(str(one[name]) for name in names), str(one["spend"]), str(one["impressions"]),
                      str(one.get("clicks", "0")), str(leads)])  # fmt: skip
    return table


def blank_id(table: Table, chance: random.Random) -> None:
    _cell(table, chance, range(6), lambda _: "")


def round_id(table: Table, chance: random.Random) -> None:
    _cell(table, chance, (0, 2, 4), lambda cell: f"{float(cell):.5E}")


def null_id(table: Table, chance: random.Random) -> None:
    _cell(
        table,
        chance,
        (0, 2, 4),
        lambda _: chance.choice(["NULL", "nan", "#N/A", "#REF!", "None", "-", "All", "Total"]),
    )


def quote_id(table: Table, chance: random.Random) -> None:
    _cell(table, chance, (0, 2, 4), lambda cell: f'="{cell}"')


def blank_day(table: Table, chance: random.Random) -> None:
    _cell(table, chance, (6,), lambda _: chance.choice(["", "All", "2026-02-30", "03/04/2026", "yesterday"]))


def local_numbers(table: Table, chance: random.Random) -> None:
    for one in table[1:]:
        with suppress(ValueError):  # another mutation was here before
            one[7] = f"{float(one[7]):,.2f}".translate(str.maketrans(",.", ".,"))


def junk_number(table: Table, chance: random.Random) -> None:
    _cell(
        table,
        chance,
        (7, 8, 9, 10),
        lambda _: chance.choice(["x", "1.2.3", "1e999", "-1", "NaN", "1_0"]),
    )


def twice(table: Table, chance: random.Random) -> None:
    table += [list(one) for one in chance.sample(table[1:], 3)]


def total(table: Table, chance: random.Random) -> None:
    sums = [f"{sum(float(one[column]) for one in table[1:]):g}" for column in range(7, 11)]
    where = chance.choice([1, len(table)])
    name = chance.choice(["", "Total", "Results from 2 campaigns", "Gesamt"])
    table.insert(where, ["", name, "", "", "", "", chance.choice(["", "All"]), *sums])


def shuffle_columns(table: Table, chance: random.Random) -> None:
    order = list(range(len(table[0])))
    chance.shuffle(order)
    table[:] = [[one[column] for column in order] for one in table]


def shuffle_rows(table: Table, chance: random.Random) -> None:
    rows = table[1:]
    chance.shuffle(rows)
    table[1:] = rows


def drop_column(table: Table, chance: random.Random) -> None:
    column = chance.choice([0, 2, 4, 6, 7, 8, 9, 10])
    table[:] = [one[:column] + one[column + 1 :] for one in table]


def break_down(table: Table, chance: random.Random) -> None:
    """Every row in two parts, by a column that is known or not."""
    name = chance.choice(["Age", "Country", "Region", "Product ID", "Conversion location"])
    parted: Table = [[*table[0], name]]
    for one in table[1:]:
        spend = float(one[7])
        first = [f"{spend / 2:.6f}", *one[8:]]
        parted += [[*one[:7], *first, "a"], [*one[:7], f"{spend / 2:.6f}", "0", "0", "0", "b"]]
    table[:] = parted


def rename_header(table: Table, chance: random.Random) -> None:
    _cell(table[:1] * 2, chance, range(11), lambda _: chance.choice(["", "x", "Betrag", "Spend"]))


def _cell(table: Table, chance: random.Random, columns: Any, change: Callable[[str], str]) -> None:
    row, column = chance.choice(table[1:]), chance.choice(list(columns))
    if column < len(row):
        try:
            row[column] = change(row[column])
        except ValueError:  # changed already
            return


MUTATIONS = (
    blank_id, round_id, null_id, quote_id, blank_day, local_numbers, junk_number, twice, total, shuffle_columns,
    shuffle_rows, drop_column, break_down, rename_header,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_endless_memory() -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mutations=st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=2),
    seed=st.integers(0, 10_000),
    delimiter=st.sampled_from([",", ";", "\t"]),
    on_error=st.sampled_from([OnError.STOP, OnError.SKIP]),
)
def test_a_report_is_refused_or_keeps_its_totals_or_says_what_it_did(
    mutations: list[Callable[[Table, random.Random], None]],
    seed: int,
    delimiter: str,
    on_error: OnError,
    tmp_path: Path,
) -> None:
    table, chance = report(), random.Random(seed)  # noqa: S311
    for mutate in mutations:
        mutate(table, chance)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(table)
    path = tmp_path / "report.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    _check(path, on_error)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    changes=st.integers(1, 3),
    on_error=st.sampled_from([OnError.STOP, OnError.SKIP]),
)
def test_rows_of_the_api_too(seed: int, changes: int, on_error: OnError, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311
    rows: list[Any] = [json.loads(json.dumps(one)) for one in ROWS]
    for _ in range(changes):
        one = chance.choice([row for row in rows if isinstance(row, dict)])
        name = chance.choice(list(one) or ["spend"])
        change = chance.randrange(6)
        if change == 0:
            one.pop(name, None)
        elif change == 1:
            one[name] = chance.choice([None, "", "NULL", [], {}, "x", -1, 1.5e300, True, "1.2E+17"])
        elif change == 2:
            rows.append(dict(one))
        elif change == 3:
            rows.insert(
                chance.randrange(len(rows)),
                chance.choice([{"error": {"message": "limit", "code": 17}}, 7, None]),
            )
        elif change == 4:
            one[chance.choice(["country", "age", "region", "product_id"])] = "a"
        else:
            one["actions"] = chance.choice(
                [[], [{"action_type": "leadx", "value": "3"}], "[{'action_type': 'lead'}]"]
            )
    path = tmp_path / "rows.json"
    page = {"data": rows, "paging": {"next": "https://x"}} if chance.random() < 0.1 else {"data": rows}
    path.write_text(json.dumps(page), encoding="utf-8")
    _check(path, on_error, leads=False)


def _check(path: Path, on_error: OnError, *, leads: bool = True) -> None:
    with scratch_store() as (store, _):
        try:
            summary = import_files([path], config_id=1, store=store, options=ImportOptions(on_error=on_error))
        except AdsmlError as error:
            assert str(error).strip()  # noqa: PT017
            assert store.daily(1).empty
            return
        daily = store.daily(1)
    ads = daily[daily["entity_type"] == "ad"]
    ads = ads if len(ads) else daily[daily["entity_type"] == daily["entity_type"].iloc[0]]
    same = abs(float(ads["spend"].sum()) - SPEND) < 0.01
    if leads:
        same = same and abs(float(ads["leads"].sum()) - LEADS) < 1e-6
    assert same or _said(summary), (float(ads["spend"].sum()), SPEND, float(ads["leads"].sum()), LEADS)


def _said(summary: ImportSummary) -> bool:
    """Whether the caller is told of anything that was left out, added up or looked odd."""
    [file] = summary.files
    return bool(
        summary.warnings or summary.problems or summary.rows_rejected or file.totals or summary.untold
        or any("no row has" in note or "taken as 0" in note for note in file.notes)
    )  # fmt: skip
