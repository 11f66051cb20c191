"""What pictures that stand by themselves are made of."""

import math
from xml.etree import ElementTree

from adsml_report.picture import Plot, picture, text

SVG = "{http://www.w3.org/2000/svg}"
PLOT = Plot(5, 0.0, 10.0, left=10.0, right=50.0, top=0.0, bottom=100.0)


def test_days_and_values_lie_between_the_edges_and_what_is_outside_on_them() -> None:
    assert [PLOT.x(0), PLOT.x(4)] == [10.0, 50.0]
    assert [PLOT.y(0), PLOT.y(10), PLOT.y(25), PLOT.y(math.inf), PLOT.y(-3)] == [100.0, 0.0, 0.0, 0.0, 100.0]


def test_one_day_lies_at_the_left() -> None:
    assert Plot(1, 0.0, 1.0, left=10.0, right=50.0, top=0.0, bottom=1.0).x(0) == 10.0


def test_a_line_is_broken_where_a_value_is_missing_and_a_lone_value_shows() -> None:
    drawn = PLOT.line([1.0, 2.0, math.nan, 4.0, math.nan], "stroke='red'")
    assert "d='M10.0,90.0 L20.0,80.0 M40.0,60.0 h0.1'" in drawn
    assert "d=''" in PLOT.line([math.nan] * 5, "")


def test_a_band_has_a_piece_for_each_stretch_and_reaches_the_edge_where_it_has_no_end() -> None:
    drawn = PLOT.band([0, 0, math.nan, 1, 1], [5, math.inf, 5, 5, 5], "")
    pieces = ElementTree.fromstring(f"<g>{drawn}</g>").findall("polygon")  # noqa: S314  # our own
    assert [one.get("points") for one in pieces] == [
        "10.0,50.0 20.0,0.0 20.0,100.0 10.0,100.0",
        "40.0,50.0 50.0,50.0 50.0,90.0 40.0,90.0",
    ]


def test_words_can_hold_no_markup() -> None:
    drawn = picture(60, 120, title="a \"b' <c>", parts=[PLOT.grid(), text(0, 0, "<script>&")])
    root = ElementTree.fromstring(drawn)  # noqa: S314  # our own
    assert root.get("aria-label") == "a \"b' <c>"
    assert [one.text for one in root.iter(f"{SVG}text")] == ["0", "5", "10", "<script>&"]
