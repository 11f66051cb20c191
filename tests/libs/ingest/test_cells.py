"""Numbers, days, ids and leads, cell by cell."""

from datetime import date

import numpy as np
import pytest
from adsml_ingest import dates, leads, numerals
from adsml_ingest.options import DateOrder
from adsml_ingest.problems import BadCell
from adsml_ingest.tree import MAX_ID, clean_id, name_id
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("1250.50", None, 1250.5), (" 7 ", None, 7.0), ("1e3", None, 1000.0),
        (".5", None, 0.5), ("5.", None, 5.0),
        ("1,250.50", None, None), ("1_000", None, None), ("0x10", None, None),
        ("", None, None), ("--", None, None),
        ("１２", None, None), ("nan", None, None), ("1e999", None, None), ("True", None, None),
        ("1,250.50", ".", 1250.5), ("1,250", ".", 1250.0), ("1,25", ".", None), ("1 250.50", ".", 1250.5),
        ("1'250.50", ".", 1250.5), ("12,34,567.5", ".", 1234567.5), ("$1,250.50", ".", 1250.5),
        ("1.250,50", ".", None), ("R$ 70", ".", 70.0),
        ("1.250,50", ",", 1250.5), ("1 234,56", ",", 1234.56), ("1\u202f234,56", ",", 1234.56),
        ("1\u00a0234,56", ",", 1234.56), ("12,5", ",", 12.5), ("1.250", ",", 1250.0),
        ("1250,50 €", ",", 1250.5),
        ("1,250.50", ",", None), ("12.5", ",", None), ("48.000", ",", 48000.0),
    ],
)  # fmt: skip
def test_number(text: str, decimal: str | None, value: float | None) -> None:
    assert numerals.number(text, decimal=decimal) == value


@given(
    st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.integers(-(10**9), 10**9).map(str),
            st.sampled_from(["", "x", "nan", "inf", "1_0", " 5", "1,000", "48.000", "1.250,5"]),
        )
    ),
    st.sampled_from([None, ".", ","]),
)
def test_a_column_is_its_cells(cells: list[str], decimal: str | None) -> None:
    values, blank = numerals.parse(cells, decimal=decimal)
    for cell, value, empty in zip(cells, values, blank, strict=True):
        expected = numerals.number(cell, decimal=decimal)
        assert (None if np.isnan(value) else value) == expected
        assert empty == (cell == "")


@pytest.mark.parametrize(
    ("money", "counts", "decimal"),
    [
        (["12,50"], [], ","), (["12.50"], [], "."), (["1.234,56"], [], ","), (["1,234.56"], [], "."),
        (["1.250"], [], None), (["1,250"], ["4.500"], ","), (["1.250"], ["4,500"], "."),
        (["7", "", "--"], ["3"], "."),
        (["0.250"], [], "."), (["1 234,5"], [], ","), (["1.250", "3,5"], [], ","),
    ],
)  # fmt: skip
def test_the_decimal_sign_that_cells_give_away(
    money: list[str], counts: list[str], decimal: str | None
) -> None:
    evidence = numerals.DecimalEvidence()
    evidence.add(money, counts)
    assert evidence.decimal == decimal


@given(st.dates(date(2000, 1, 1), date(2090, 12, 31)))
def test_days_in_every_order(day: date) -> None:
    number = (day - date(1970, 1, 1)).days
    for text in (day.isoformat(), f"{day}T00:00:00", f"{day} 00:00:00+0000", f"{day}T00:00:00.000Z"):
        assert dates.day(text, None) == number
    assert dates.day(day.strftime("%d/%m/%Y"), DateOrder.DMY) == number
    assert dates.day(day.strftime("%m-%d-%Y"), DateOrder.MDY) == number
    assert dates.day(day.strftime("%Y.%m.%d"), DateOrder.YMD) == number
    assert dates.day(day, None) == number
    assert dates.to_date(number) == day


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["31/01/2026"], DateOrder.DMY), (["01/31/2026"], DateOrder.MDY), (["01/02/2026"], None),
        (["01.02.2026"], DateOrder.DMY), (["2026/01/02"], DateOrder.YMD), (["2026-01-02"], None),
        (["31/01/2026", "01/31/2026"], None),
    ],
)  # fmt: skip
def test_the_order_that_dates_give_away(cells: list[str], order: DateOrder | None) -> None:
    evidence = dates.OrderEvidence()
    evidence.add(cells)
    assert evidence.order == order


@pytest.mark.parametrize("text", ["01/02/26", "2026-13-01", "yesterday", "31/02/2026", "2026-01-02T10:00:00"])
def test_what_is_no_day(text: str) -> None:
    with pytest.raises(BadCell):
        dates.day(text, DateOrder.DMY)


@pytest.mark.parametrize(
    ("actions", "count"),
    [
        (None, 0.0),
        ([], 0.0),
        ("", 0.0),
        ([{"action_type": "link_click", "value": "9"}], 0.0),
        # `lead` is the total, and lists its parts beside it.
        ([{"action_type": "lead", "value": "3"}, {"action_type": leads.PARTS[0], "value": "1"},
          {"action_type": leads.PARTS[1], "value": "2"}], 3.0),
        ([{"action_type": leads.PARTS[0], "value": "1"}, {"action_type": leads.PARTS[1], "value": 2}], 3.0),
        # A total of none still is the total.
        ([{"action_type": "lead", "value": "0"}, {"action_type": leads.PARTS[0], "value": "1"}], 0.0),
        # A breakdown of actions lists a type several times.
        ([{"action_type": "lead", "value": "1"}, {"action_type": "lead", "value": "2"}], 3.0),
        ('[{"action_type": "lead", "value": "4"}]', 4.0),
    ],
)  # fmt: skip
def test_leads(actions: object, count: float) -> None:
    assert leads.LeadCounter().count(actions) == count


def test_leads_of_other_actions() -> None:
    actions = [
        {"action_type": "lead", "value": "3"},
        {"action_type": "submit_application_total", "value": "2"},
    ]
    assert leads.LeadCounter(("submit_application_total",)).count(actions) == 2.0


@pytest.mark.parametrize(
    "actions",
    [5, "{", {"lead": 1}, [1], [{"value": "3"}], [{"action_type": "lead", "value": "many"}],
     [{"action_type": "lead"}], [{"action_type": "lead", "value": "nan"}], "[" * 99_999],
)  # fmt: skip
def test_actions_that_can_not_be_read(actions: object) -> None:
    with pytest.raises(leads.BadActions):
        leads.LeadCounter().count(actions)


@pytest.mark.parametrize(
    ("cell", "cleaned"),
    [
        (120330000000000001, "120330000000000001"),
        ("120330.0", "120330"),
        (12.0, "12"),
        (" 7 ", "7"),
        ("", ""),
    ],
)
def test_ids(cell: object, cleaned: str) -> None:
    assert clean_id(cell, digits=True) == cleaned


@pytest.mark.parametrize("cell", ["1.2E+17", 1.2033e17, 1.5, "120330000000000001.0", "x" * 65, "a\nb"])
def test_ids_that_can_not_be(cell: object) -> None:
    with pytest.raises(BadCell):
        clean_id(cell, digits=True)


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=3).map(tuple))
def test_ids_made_of_names_are_ids(path: tuple[str, ...]) -> None:
    made = name_id(path)
    assert 0 < len(made) <= MAX_ID
    assert clean_id(made, digits=False) == made.strip()


def test_paths_of_names_that_look_alike_have_different_ids() -> None:
    paths = [("A / B", "C"), ("A", "B / C"), ("A", "B", "C"), ("x" * 70, "1"), ("x" * 70, "2")]
    assert len({name_id(path) for path in paths}) == len(paths)
