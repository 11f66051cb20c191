"""Whole simulated ad accounts with known truth; docs/simulate.md has the model and its limits."""

from adsml_simulate.account import SimulatedAccount, Truth, apply_change, simulate_account
from adsml_simulate.anomalies import AnomalyKind, inject_anomalies
from adsml_simulate.presets import clean, demo, large, small_accounts
from adsml_simulate.settings import AccountSettings, MarketShock, PlannedChange, RandomChanges

__all__ = [
    "AccountSettings",
    "AnomalyKind",
    "MarketShock",
    "PlannedChange",
    "RandomChanges",
    "SimulatedAccount",
    "Truth",
    "apply_change",
    "clean",
    "demo",
    "inject_anomalies",
    "large",
    "simulate_account",
    "small_accounts",
]
