"""Defaults that the contract states are the ones that answers use, command lines show and docs print."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from adsml.classifier.v1 import classifier_service_pb2 as classifier_pb
from adsml.common.v1 import options_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb
from adsml.impact.v1 import impact_service_pb2 as impact_pb
from adsml.training.v1 import training_service_pb2 as training_pb
from adsml_classifier import decoding as classifier
from adsml_common.serving import contract_rules
from adsml_forecasting import decoding as forecasting
from adsml_impact import decoding as impact
from adsml_impact.analysis import query
from google.protobuf.descriptor import FieldDescriptor

DOCS = Path(__file__).parents[2] / "docs" / "contracts.md"
FILES = [module.DESCRIPTOR for module in (classifier_pb, forecasting_pb, impact_pb, training_pb)]


def stated() -> Iterator[FieldDescriptor]:
    for file in FILES:
        for message in file.message_types_by_name.values():
            for field in message.fields:
                if field.GetOptions().HasExtension(options_pb2.default_number):
                    yield field


@pytest.mark.parametrize("field", list(stated()), ids=lambda field: field.full_name)
def test_a_default_is_one_of_the_numbers_that_the_field_takes_and_can_be_told_from_unset(
    field: FieldDescriptor,
) -> None:
    bounds = contract_rules.number_bounds(contract_rules.rules(field))
    default = contract_rules.default_number(field)
    assert default is not None
    assert bounds.low is None or bounds.low <= default
    assert bounds.high is None or default <= bounds.high
    assert field.has_presence
    assert re.search(rf"\| `{field.name}` \| optional [^|]*, default {default:g} \|", DOCS.read_text())


def test_answers_use_them() -> None:
    asked = forecasting.options(forecasting_pb.ForecastOptions())
    assert (asked.horizon_days, asked.interval_level) == (7, 0.9)
    plan = forecasting.backtest_spec(forecasting_pb.BacktestRequest())
    assert (plan.horizon_days, plan.cutoffs, plan.step_days, plan.min_history_days) == (7, 4, None, 30)
    assert (plan.interval_level, plan.bootstrap_samples, plan.seed) == (0.9, 1000, 0)
    wanted = classifier.options(classifier_pb.ClassificationOptions())
    assert (wanted.contributions, wanted.reasons, wanted.lag_days) == (5, 3, None)
    analysis = impact.options(impact_pb.ImpactOptions(), attribution_lag_days=2, equivalence_margin=0.2)
    assert (analysis.alpha, analysis.max_placebos, analysis.washout_days) == (0.05, 1000, 0)


def test_what_is_set_holds_0_among_it() -> None:
    wanted = classifier.options(classifier_pb.ClassificationOptions(max_contributions=0, max_reasons=1))
    assert (wanted.contributions, wanted.reasons) == (0, 1)
    assert (
        forecasting.backtest_spec(forecasting_pb.BacktestRequest(bootstrap_samples=0)).bootstrap_samples == 0
    )


def test_windows_of_an_impact_analysis_which_shrink_where_there_are_fewer_days_begin_at_theirs() -> None:
    defaults = {
        name: contract_rules.number(impact_pb.ImpactOptions(), name)
        for name in ("before_days", "after_days", "baseline_days")
    }
    assert defaults == {
        "before_days": query.USUAL_DAYS,
        "after_days": query.USUAL_DAYS,
        "baseline_days": query.USUAL_BASELINE,
    }
