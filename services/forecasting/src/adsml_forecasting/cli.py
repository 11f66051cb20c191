"""What forecasting adds to the `adsml` command."""

from adsml_common.cli.family import Family

from adsml_forecasting.cli_evaluate import evaluate_forecasting

family = Family(
    name="forecasting",
    serve=lambda: 0,
    evaluate={"forecasting": evaluate_forecasting},
)
