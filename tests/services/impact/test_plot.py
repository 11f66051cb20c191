"""The picture: well-formed, with what a reader looks for."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from adsml_common.domain.errors import FailedPrecondition, InvalidInput
from adsml_common.domain.metrics import Metric
from adsml_impact.analysis.query import Options
from adsml_impact.analysis.single import analyse
from adsml_impact.plot import draw_svg, save
from support.impact import ask, known, make_account

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_well_formed_and_says_what_it_shows() -> None:
    account = make_account()
    account.leads[0, 77:] *= 2
    report = analyse(ask(options=Options(washout_days=2)), known(account))

    root = ElementTree.fromstring(draw_svg(report))  # noqa: S314 - our own

    texts = " ".join(node.text or "" for node in root.iter(f"{SVG}text"))
    assert "Cost per lead: audience change of adset 000" in texts
    assert "positive" in texts
    assert "without the change" in texts
    assert len(list(root.iter(f"{SVG}path"))) == 3
    assert len(list(root.iter(f"{SVG}polygon"))) == 1
    for path in root.iter(f"{SVG}path"):
        assert "nan" not in path.attrib["d"]


def test_names_can_hold_no_markup() -> None:
    account = make_account()
    account.names = ("<script>alert(1)</script>", *account.names[1:])
    report = analyse(ask(treated=[account.names[0]]), known(account))

    drawn = draw_svg(report)

    assert "<script>" not in drawn
    ElementTree.fromstring(drawn)  # noqa: S314


def test_days_without_a_ratio_break_the_line() -> None:
    account = make_account()
    account.leads[0, 50] = 0
    account.spend[0, 50] = 0
    drawn = draw_svg(analyse(ask(), known(account)))
    ElementTree.fromstring(drawn)  # noqa: S314
    assert "nan" not in drawn


def test_without_series_there_is_nothing_to_draw() -> None:
    report = analyse(ask(options=Options(with_series=False)), known(make_account()))
    with pytest.raises(FailedPrecondition, match="no series"):
        draw_svg(report)


def test_files_by_their_ending(tmp_path: Path) -> None:
    drawn = draw_svg(analyse(ask(), known(make_account())))

    save(drawn, tmp_path / "effect.svg")

    assert (tmp_path / "effect.svg").read_text().startswith("<svg")
    with pytest.raises(InvalidInput, match=r"expected \.svg"):
        save(drawn, tmp_path / "effect.png")


def test_other_metrics_can_be_drawn() -> None:
    report = analyse(ask(), known(make_account()))
    spend = next(one for one in report.metrics if one.metric is Metric.SPEND)
    assert "Spend: audience change" in draw_svg(report, spend)
