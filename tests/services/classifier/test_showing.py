"""`adsml classify` in a terminal of 80 columns, on a stored account."""

import re

import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import tier_pb2
from adsml_classifier.settings import ClassifierSettings
from adsml_classifier.showing import TOP
from adsml_common.cli import output
from adsml_common.cli.main import build
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_simulate import SimulatedAccount
from google.protobuf import json_format
from typer.testing import CliRunner

from .conftest import LAST_DAY


@pytest.fixture
def environment(settings: ClassifierSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("database_url", "artifact_url", "cache_dir"):
        monkeypatch.setenv(f"ADSML_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("COLUMNS", "80")
    # The console took its width from whichever test imported it.
    monkeypatch.setattr(output.console, "_width", 80)


def classify(*options: str) -> str:
    ran = CliRunner().invoke(build(), ["classify", "--config-id", "1", *options], env={"COLUMNS": "80"})
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.mark.usefixtures("environment", "trained")
def test_it_says_the_day_the_money_in_each_tier_and_the_ten_that_spent_most(
    account: SimulatedAccount,
) -> None:
    shown = classify("--entity-type", "ad")
    assert max(len(line) for line in shown.splitlines()) <= 80
    results = json_format.Parse(classify("--entity-type", "ad", "--json"), pb.BatchClassifyResponse())
    spend = {
        one.entity.entity_id: one.classification.metrics.spend
        for one in results.results
        if one.HasField("classification")
    }
    most = sorted(spend, key=lambda name: -spend[name])[:TOP]
    named = re.findall(r"^(\S+): (?:high|moderate|low|under)", shown, re.MULTILINE)
    assert named == most
    good = [
        one.classification
        for one in results.results
        if one.classification.tier == tier_pb2.TIER_HIGH_PERFORMER
    ]
    money = sum(one.metrics.spend for one in good) / sum(spend.values())
    opening = " ".join(shown.split())
    assert opening.startswith(
        f"Of {len(spend)} ads of account 1, {len(good)} will probably do well in the 7 days after"
    )
    assert f"after {LAST_DAY} ({money:.0%} of the money)" in opening
    total = sum(float(one.replace(",", "")) for one in re.findall(r"│\s+([\d,]+\.\d\d) │\s+\d+%", shown))
    assert total == pytest.approx(sum(spend.values()), abs=0.03)


@pytest.mark.usefixtures("environment", "stored")
def test_without_a_model_it_names_what_answered() -> None:
    shown = " ".join(classify().split())
    assert "By last week's tier: the account has no model yet" in shown


@pytest.mark.usefixtures("environment", "trained")
def test_a_server_is_asked_the_same_and_no_database_is_opened(
    service: str, account: SimulatedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [one.ref.entity_id for one in account.entities if one.ref.entity_type is EntityType.ADSET][:3]
    named = [part for one in ids for part in ("--entity-id", one)]
    here = classify(*named, "--json")
    monkeypatch.setenv("ADSML_DATABASE_URL", "sqlite:////nowhere/at-all.db")
    there = classify(*named, "--json", "--server", service)

    def rounded(text: str) -> str:
        return re.sub(r"(\d\.\d{9})\d+", r"\1", text)

    assert rounded(here) == rounded(there)
    refused = CliRunner().invoke(build(), ["classify", "--config-id", "1", "--server", service])
    assert isinstance(refused.exception, InvalidInput)
    assert "--entity-id" in str(refused.exception)
