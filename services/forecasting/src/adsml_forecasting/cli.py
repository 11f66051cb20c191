"""What forecasting adds to the `adsml` command."""

from typing import TYPE_CHECKING

from adsml_common.cli.family import Family
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion

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
    model_prefixes=("prophet", "ensemble"),
    check_model=_check_model,
    report=_report,
)
