"""The account as an export of a given day shows it."""

import itertools
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_simulate import SimulatedAccount, clean, large, simulate_account

LAST_DAY = date(2026, 6, 30)


def test_recent_days_are_understated_by_the_stated_shares() -> None:
    account = simulate_account(large(last_day=LAST_DAY, entities=1000, days=30), seed=1)
    final = account.daily.query("entity_type == 'campaign'").groupby("date")["leads"].sum()
    seen = account.as_of(LAST_DAY).query("entity_type == 'campaign'").groupby("date")["leads"].sum()
    known = np.cumsum(account.settings.lag)
    for age in range(len(known) + 3):
        day = pd.Timestamp(LAST_DAY - timedelta(days=age))
        share = 1.0 if age >= len(known) else known[age]
        sd = np.sqrt(share * (1 - share) / final[day])
        assert final[day] > 500
        assert abs(seen[day] / final[day] - share) <= 4 * sd + 1e-12


def test_leads_only_ever_arrive(lively: SimulatedAccount) -> None:
    views = [
        lively.as_of(LAST_DAY - timedelta(days=back)).set_index(["entity_type", "entity_id", "date"])["leads"]
        for back in range(9, -1, -1)
    ]
    for earlier, later in itertools.pairwise(views):
        assert (earlier <= later.reindex(earlier.index)).all()
    settled = views[0].index.get_level_values("date") <= pd.Timestamp(LAST_DAY - timedelta(days=15))
    final = lively.daily.set_index(["entity_type", "entity_id", "date"])["leads"]
    assert views[0][settled].equals(final.reindex(views[0].index)[settled])


def test_only_leads_lag_and_later_days_are_absent(lively: SimulatedAccount) -> None:
    day = LAST_DAY - timedelta(days=20)
    seen = lively.as_of(day)
    final = lively.daily[lively.daily["date"] <= pd.Timestamp(day)].reset_index(drop=True)
    pd.testing.assert_frame_equal(seen.drop(columns="leads"), final.drop(columns="leads"))
    assert seen["leads"].sum() < final["leads"].sum()
    totals = seen.groupby("entity_type")["leads"].sum()
    assert totals.nunique() == 1


def test_no_lag_and_days_out_of_range() -> None:
    account = simulate_account(replace(clean(last_day=LAST_DAY, days=20), lag=(1.0,)), seed=1)
    pd.testing.assert_frame_equal(account.as_of(LAST_DAY), account.daily)
    with pytest.raises(InvalidInput, match="as_of"):
        account.as_of(LAST_DAY + timedelta(days=1))
