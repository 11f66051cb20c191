"""Charts show what is there, break where nothing is, and keep inside the picture."""

import math
import re
from dataclasses import replace
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from adsml_report.content import Band, Chart, Line, Look, Mark, Reliability
from adsml_report.plot import HEIGHT, WIDTH, amount, draw, draw_reliability, legend, picture, readings, ticks
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

FIRST = date(2026, 8, 1)
SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.none() | st.floats(-1e9, 1e9) | st.just(float("nan"))


def chart(values: list[float | None]) -> Chart:
    return Chart("Leads", "leads per day", FIRST, (Line("leads", values),))


def parsed(drawn: str) -> ElementTree.Element:
    """Our own output, as XML."""
    return ElementTree.fromstring(drawn)  # noqa: S314 - nobody else wrote it


def paths(drawn: str, kind: str) -> list[str]:
    root = parsed(drawn)
    return [one.attrib["d"] for one in root.iter("path") if kind in one.attrib["class"].split()]


@settings(suppress_health_check=[HealthCheck.too_slow])  # says how busy the machine is
@example([5e-324])
@example([-1e20])
@given(st.lists(VALUES, max_size=60))
def test_any_values_give_a_picture_whose_points_lie_inside_it(values: list[float | None]) -> None:
    [path] = paths(draw(chart(values)), "actual")
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.e+]+) ([-\d.e+]+)", path)]
    known = [value for value in values if value is not None and math.isfinite(value)]
    assert len(points) == len(known)
    assert all(0 <= x <= WIDTH + 0.5 and 0 <= y <= HEIGHT + 0.5 for x, y in points)


def test_a_line_is_broken_where_a_value_is_missing_and_a_lone_value_is_a_dot() -> None:
    [path] = paths(draw(chart([1.0, 2.0, None, 3.0, None, 4.0, 5.0])), "actual")
    assert path.count("M") == 3
    assert path.count("h.1") == 1


def test_a_band_without_a_bound_reaches_the_edge_of_the_picture() -> None:
    band = Band("interval", [None, 1.0, 1.0], [None, 2.0, float("inf")])
    [path] = paths(draw(replace(chart([1.0, 2.0, 3.0]), bands=(band,))), "b")
    assert "inf" not in path
    assert path.startswith("M")


def test_a_mark_is_drawn_with_its_words_and_outside_the_days_it_is_not() -> None:
    marks = (Mark(FIRST, 1.0, "three times the usual"), Mark(FIRST - timedelta(days=1), 1.0, "before"))
    marked = replace(chart([1.0, 2.0]), marks=marks)
    drawn = draw(marked)
    assert len(paths(drawn, "m")) == 1
    assert "Sat 1 Aug 2026: three times the usual" in drawn
    assert readings(marked)["m"][0] == "three times the usual"


def test_members_share_one_entry_of_the_legend() -> None:
    lines = (Line("leads", [1.0]), Line("ema", [1.0], Look.MEMBER), Line("prophet", [1.0], Look.MEMBER))
    assert legend(replace(chart([]), lines=lines)) == [
        ("actual", "leads"),
        ("member", "members: ema, prophet"),
    ]


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_are_few_and_lie_between_the_ends(low: float, span: float) -> None:
    high = low + span
    if high - low < 1e-9 * abs(low):
        return
    found = ticks(low, high)
    assert 1 <= len(found) <= 6
    margin = 1e-9 * max(abs(low), abs(high))
    assert all(low - margin <= one <= high + margin for one in found)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (12.5, "12.5"), (1250.0, "1,250"), (25_000.0, "25k"), (1.2e6, "1.2M")]
)
def test_amounts_are_short(value: float, shown: str) -> None:
    assert amount(value) == shown


def test_one_day_far_out_flattens_no_other_and_says_its_value() -> None:
    values = [10.0 + at % 3 for at in range(40)]
    values[20] = 4000.0
    drawn = draw(chart(list(values)))
    [path] = paths(drawn, "actual")
    heights = sorted(float(y) for _, y in re.findall(r"[ML]([-\d.e+]+) ([-\d.e+]+)", path))
    assert heights[-1] - heights[1] > HEIGHT / 20, "the others still differ to the eye"
    assert "\N{UPWARDS ARROW}4,000" in [one.text for one in parsed(drawn).iter("text")]


def test_a_picture_stands_by_itself() -> None:
    """Colours are written in: what shows it may know no variables, and names can hold no markup."""
    drawn = picture(
        [chart([1.0, None, 3.0]), Reliability("Calibration", ((10, 0.5, 0.5),))],
        title="a \"b' <script>&", text="below",
    )  # fmt: skip
    root = parsed(drawn)
    assert root.get("aria-label") == "a \"b' <script>&"
    assert [one.text for one in root.iter(f"{SVG}text")][:2] == ["a \"b' <script>&", "below"]
    assert "var(" not in drawn
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_what_is_read_out_is_what_was_given() -> None:
    band = Band("range", [0.123, None], [2.0, math.inf])
    told = readings(replace(chart([1234.56, 0.1234]), bands=(band,)))
    assert told["d"] == "2026-08-01"
    assert told["l"] == [("leads", [1235.0, 0.12])]
    assert told["b"] == [("range", [0.12, None], [2.0, None])]


def test_a_reliability_diagram_puts_an_honest_bin_on_the_diagonal() -> None:
    drawn = parsed(draw_reliability(Reliability("Calibration", ((10, 0.5, 0.5),))))
    dot, line = drawn.find("circle"), drawn.find("path[@class='l expected']")
    assert dot is not None
    assert line is not None
    x1, y1, x2, y2 = map(float, re.findall(r"[\d.]+", line.attrib["d"]))
    middle = [(x1 + x2) / 2, (y1 + y2) / 2]
    assert [float(dot.attrib["cx"]), float(dot.attrib["cy"])] == pytest.approx(middle)


def test_a_band_that_is_wide_on_one_day_does_not_flatten_the_line() -> None:
    band = Band("range", [0.0, 0.0, 0.0], [2.0, 1e6, 2.0])
    [path] = paths(draw(replace(chart([1.0, 2.0, 1.0]), bands=(band,))), "actual")
    heights = [float(y) for _, y in re.findall(r"[ML]([-\d.e+]+) ([-\d.e+]+)", path)]
    assert max(heights) - min(heights) > HEIGHT / 8
