"""Pictures of alarms."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.detection import Options, Subject, assess
from adsml_anomaly.models.fitting import AccountPool
from adsml_anomaly.models.results import Report, Threshold
from adsml_anomaly.plot import picture
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric

SVG = "{http://www.w3.org/2000/svg}"
DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def report(histories: dict[EntityRef, Days], pool: AccountPool) -> Report:
    """Forty days of a campaign whose leads stopped on the last three."""
    ref = next(ref for ref in histories if ref.entity_type is EntityType.CAMPAIGN)
    days = histories[ref]
    rows = days.rows.copy()
    rows[-3:, 3] = 0.0
    model = pool.of(ref.entity_type).pooled.for_series(days)
    subject = Subject(name="c", days=Days(days.first_day, rows), model=model, threshold=Threshold(1.0))
    return assess(subject, Options(first_date=days.day(len(rows) - 40), last_date=days.last_day))


@pytest.mark.parametrize("metric", list(Metric))
def test_every_metric_has_axes_a_band_and_a_mark_for_each_alarm(report: Report, metric: Metric) -> None:
    root = ET.fromstring(picture(report.days, metric, title="Leads & clicks <1>"))  # noqa: S314  # our own
    texts = [one.text or "" for one in root.iter(f"{SVG}text")]
    assert "Leads & clicks <1>" in texts
    assert any(str(report.days[0].date.year) in text for text in texts if report.days[0].date)
    assert {"came", "expected", "range at the threshold", "alarm"} <= set(texts)
    assert root.find(f"{SVG}polygon") is not None
    marks = [one for one in root.iter(f"{SVG}path") if one.get("fill") == "#D55E00"]
    assert len(marks) == 1 + sum(day.anomalous for day in report.days)  # one in the legend
    for one in root.iter():
        for value in one.attrib.values():
            assert "nan" not in value
            assert "inf" not in value.split("ite")[0]


def test_what_can_t_be_drawn_is_said(report: Report) -> None:
    with pytest.raises(InvalidInput, match="at least 2"):
        picture(report.days[:1], Metric.SPEND, title="one")
    with pytest.raises(InvalidInput, match="not known"):
        picture(report.days, None, title="no such metric")


def test_the_pictures_of_the_page_are_there() -> None:
    page = (DOCS / "anomaly.md").read_text()
    for svg in (DOCS / "anomaly").glob("*.svg"):
        ET.parse(svg)  # noqa: S314  # our own
        assert f"anomaly/{svg.name}" in page
    assert len(list((DOCS / "anomaly").glob("*.svg"))) == page.count(".svg)")
