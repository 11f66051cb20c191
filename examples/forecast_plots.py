"""Draws docs/images/forecast_*.svg: the best, the middle and the worst of many forecasts of simulated leads.

Each entity's last week is hidden, and forecast with its interval by weights learnt from the weeks before.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from adsml_forecasting.evaluation.study import LEVEL, MEMBERS
from adsml_forecasting.models.calibration import calibrate
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.origins import Task, forecast_origins, join_pooled, newest_rows
from adsml_forecasting.models.pooled_regression import learn
from adsml_forecasting.models.prediction import ForecastSpec, LearnedModels, Prediction, predict
from adsml_forecasting.models.prepared import Prepared
from adsml_forecasting.models.series import DailySeries
from adsml_report.content import Band, Chart, Line, Look, Moment
from adsml_report.plot import picture as drawn
from adsml_simulate import small_accounts

LAST_DAY = date(2026, 3, 31)
HORIZON, SHOWN = 7, 56
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"


def leads() -> list[DailySeries]:
    """Daily leads of campaigns and ad sets with at least one a day."""
    found = []
    for account in small_accounts(6, last_day=LAST_DAY, seed=5, days=120):
        kept = account.daily[account.daily["entity_type"] != "ad"]
        for (_, name), rows in kept.groupby(["entity_type", "entity_id"]):
            if len(rows) >= 100 and rows["leads"].mean() >= 1:
                found.append(DailySeries.of(rows["date"], rows["leads"], name=str(name)))
    return found


def forecasts(series: Sequence[DailySeries]) -> list[Prediction]:
    """Of every series' last week, by what all series show before it."""
    known = [one.until(len(one) - HORIZON) for one in series]
    alone = tuple(method for method in MEMBERS if method is not Method.POOLED_REGRESSION)
    tasks = [Task(one, newest_rows(len(one), horizon=HORIZON, count=4)) for one in known]
    found = forecast_origins(tasks, methods=alone, horizon=HORIZON)
    found = join_pooled(found, known, horizon=HORIZON)
    last = max(one.last_day for one in known)
    pooled = learn(known, cutoffs=[last], horizon=HORIZON)[last]
    learnt = calibrate(found, members=MEMBERS, level=LEVEL, pooled=pooled)
    learned = LearnedModels(calibration=learnt)
    return [
        predict(Prepared.of_series(one, horizon=HORIZON), ForecastSpec(horizon=HORIZON), learned)
        for one in known
    ]


def picture(title: str, series: DailySeries, told: Prediction) -> str:
    """A standalone drawing of the newest weeks and the forecast."""
    past = SHOWN - HORIZON
    empty = [None] * past

    def later(values: Sequence[float]) -> list[float | None]:
        return [*empty, *(float(value) for value in values)]

    first = date(1970, 1, 1) + timedelta(days=int(series.last_day) - SHOWN + 1)
    members = [m for m in told.members if m.weight > 0]
    chart = Chart(
        title,
        "leads per day",
        first,
        (
            Line("what came", [float(value) for value in series.values[-SHOWN:]]),
            Line("forecast", later(told.point), Look.EXPECTED),
            *(Line(m.method.value, later(m.values), Look.MEMBER) for m in members),
        ),
        (Band("90% interval", later(told.lower), later(told.upper)),),
        moments=(Moment(first + timedelta(days=past), "forecast"),),
    )
    return drawn([chart], title=title)


def main() -> None:
    """Forecast, rank, draw."""
    series = [one for one in leads() if one.values[-HORIZON:].sum() > 0]
    told = forecasts(series)
    errors = [
        float(np.abs(p.point - s.values[-HORIZON:]).sum() / s.values[-HORIZON:].sum())
        for s, p in zip(series, told, strict=True)
    ]
    order = np.argsort(errors)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, at in (("good", order[0]), ("typical", order[len(order) // 2]), ("bad", order[-1])):
        path = FOLDER / f"forecast_{name}.svg"
        title = f"A {name} forecast: wMAPE {errors[at]:.0%}"
        path.write_text(picture(title, series[at], told[at]))
        print(f"{path.name}: {title}, entity {series[at].name}")
    print(
        f"{len(series)} series; wMAPE by quartile: {np.quantile(errors, [0.25, 0.5, 0.75]).round(2).tolist()}"
    )


if __name__ == "__main__":
    main()
