"""Accounts that several tests look at."""

from datetime import date

import pytest
from adsml_simulate import SimulatedAccount, clean, demo, simulate_account

LAST_DAY = date(2026, 6, 30)


@pytest.fixture(scope="session")
def lively() -> SimulatedAccount:
    return simulate_account(demo(last_day=LAST_DAY), seed=3)


@pytest.fixture(scope="session")
def still() -> SimulatedAccount:
    return simulate_account(clean(last_day=LAST_DAY), seed=5)
