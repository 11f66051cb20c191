"""What forecasting adds to the `adsml` command."""

from typing import TYPE_CHECKING

from adsml_common.cli.family import Family
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion

from adsml_forecasting.cli_evaluate import evaluate_forecasting
from adsml_forecasting.cli_forecast import forecast
from adsml_forecasting.cli_train import train_ensemble_weights, train_prophet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adsml_report.content import Section
    from adsml_report.context import ReportContext


def _serve() -> int:
    from adsml_forecasting.server import serve  # noqa: PLC0415

    return serve()


def _check_model(version: ModelVersion, bundle: Bundle) -> object:
    from adsml_forecasting.registered import parse  # noqa: PLC0415

    return parse(version, bundle)


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_forecasting.reporting import sections  # noqa: PLC0415

    return sections(context)


family = Family(
    name="forecasting",
    serve=_serve,
    train={"prophet": train_prophet, "ensemble-weights": train_ensemble_weights},
    evaluate={"forecasting": evaluate_forecasting},
    commands={"forecast": forecast},
    model_prefixes=("prophet", "ensemble"),
    check_model=_check_model,
    report=_report,
)
