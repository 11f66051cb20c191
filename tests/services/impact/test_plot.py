"""The picture: well-formed, with what a reader looks for."""

from xml.etree import ElementTree

import pytest
from adsml_common.domain.errors import FailedPrecondition
from adsml_impact.analysis.query import Options
from adsml_impact.plot import draw_svg, effect_charts
from support.impact import ask, known, make_account, report_of

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_well_formed_and_says_what_it_shows() -> None:
    account = make_account()
    account.leads[0, 77:] *= 2
    report = report_of(ask(options=Options(washout_days=2)), known(account))

    root = ElementTree.fromstring(draw_svg(report))  # noqa: S314 - our own

    texts = " ".join(node.text or "" for node in root.iter(f"{SVG}text"))
    assert "Cost per lead: audience change of adset 000" in texts
    assert "positive" in texts
    assert "without the change" in texts
    looks = [node.attrib["class"] for node in root.iter(f"{SVG}path")]
    assert {"l actual", "l expected", "b expected"} <= set(looks)
    for path in root.iter(f"{SVG}path"):
        assert "nan" not in path.attrib["d"]


def test_names_can_hold_no_markup() -> None:
    account = make_account()
    account.names = ("<script>alert(1)</script>", *account.names[1:])
    report = report_of(ask(treated=[account.names[0]]), known(account))

    drawn = draw_svg(report)

    assert "<script>" not in drawn
    ElementTree.fromstring(drawn)  # noqa: S314


def test_days_without_a_ratio_break_the_line() -> None:
    account = make_account()
    account.leads[0, 50] = 0
    account.spend[0, 50] = 0
    drawn = draw_svg(report_of(ask(), known(account)))
    ElementTree.fromstring(drawn)  # noqa: S314
    assert "nan" not in drawn


def test_without_series_there_is_nothing_to_draw() -> None:
    report = report_of(ask(options=Options(with_series=False)), known(make_account()))
    with pytest.raises(FailedPrecondition, match="no series"):
        draw_svg(report)


def test_the_effect_so_far_has_the_interval_of_its_own_window() -> None:
    """A cost per lead is a ratio: over a window it is not summed. The window of 4 days was not asked about."""
    account = make_account()
    account.leads[0, 77:] *= 2
    report = report_of(ask(), known(account))
    growing = [report_of(ask(options=Options(after_days=days)), known(account)) for days in (3, 5)]
    _, so_far = effect_charts(report, growing)
    first, last = (one.effects[0] for one in growing)
    assert so_far.lines[0].values == [first.absolute, None, last.absolute]
    assert so_far.bands[0].upper == [first.absolute_interval.upper, None, last.absolute_interval.upper]
