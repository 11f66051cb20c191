"""Ready-made accounts."""

from datetime import date

import pytest
from adsml_simulate import presets, simulate_account


@pytest.mark.parametrize("seed", [4, 13])
def test_the_demos_own_edits_show_in_a_week(seed):
    """By the truth, one lowers the cost per lead of its ad set by a third, the other raises it by half."""
    account = presets.with_clear_changes(
        simulate_account(presets.demo(last_day=date(2026, 6, 30)), seed=seed)
    )
    worked, hurt = account.planned[-2:]
    assert worked.entity_id != hurt.entity_id
    effects = account.truth.effects
    cpl = effects[(effects["scope"] == "entity") & (effects["metric"] == "cpl") & (effects["days"] == 7)]
    numbers = {(one.entity.entity_id, one.date): index for index, one in enumerate(account.changes)}
    relative = [
        cpl[cpl["change"] == numbers[one.entity_id, one.date]]["relative"].item() for one in (worked, hurt)
    ]
    assert relative[0] < -0.3
    assert relative[1] > 0.4
