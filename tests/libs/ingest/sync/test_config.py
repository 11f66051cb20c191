"""The file that says which account comes from where."""

from pathlib import Path

import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_ingest.options import OnError
from adsml_ingest.sync.config import load_sources

GOOD = """
[[account]]
config_id = 1
source = "postgresql://reader:${WAREHOUSE_PASSWORD}@warehouse/ads?sslmode=require"
tables = ["airbyte.ads_insights"]
look_back_days = 35

[account.options]
on_error = "skip"
lead_actions = ["offsite_conversion.custom.1"]
columns = {spend = "cost"}

[[account]]
config_id = 2
source = "meta://act_555"
"""


def test_a_file_is_read_with_its_secrets_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "sync.toml"
    path.write_text(GOOD)
    one, other = load_sources(path, {"WAREHOUSE_PASSWORD": "s3cret"})
    assert (one.config_id, one.look_back_days, one.tables) == (1, 35, ("airbyte.ads_insights",))
    assert ":s3cret@" in one.source
    assert one.shown == "postgresql://warehouse/ads"
    assert one.options.on_error is OnError.SKIP
    assert one.options.mapping == {"spend": "cost"}
    assert (other.look_back_days, other.options.lead_actions) == (28, ())


def test_the_text_may_stand_in_a_variable() -> None:
    [one] = load_sources(None, {"ADSML_SYNC_SOURCES": '[[account]]\nconfig_id = 3\nsource = "s3://b/x"\n'})
    assert one.config_id == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no account"),
        ("[[account", "is not TOML"),
        ('[[account]]\nconfig_id = 1\nsource = "x"', "source is missing, or no URL"),
        ('[[account]]\nsource = "s3://x"', "config_id is missing"),
        ('[[account]]\nconfig_id = 1\nsource = "s3://x"\nlook_back = 3', "look_back: no such setting"),
        ('[[account]]\nconfig_id = 1\nsource = "s3://${NOWHERE}"', "NOWHERE is not set"),
        (
            '[[account]]\nconfig_id = 1\nsource = "s3://x"\n[account.options]\nlead = 1',
            "options.lead: no such option",
        ),
        (
            '[[account]]\nconfig_id = 1\nsource = "s3://x"\n[account.options]\nformat = "x"',
            "'x' is not a valid Format",
        ),
        ('[[account]]\nconfig_id = 1\nsource = "s3://x"\n' * 2, "config_id 1 is there 2 times"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sync.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        load_sources(path, {})
    assert any(says in violation.description for violation in refused.value.violations)
