"""Whole simulated ad accounts with known truth; docs/simulate.md has the model and its limits.

What is listed here is imported when it is used: the `adsml` command loads this package to show its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = ("account", "anomalies", "presets", "settings")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            if hasattr(one := import_module(f"adsml_simulate.{module}"), name):
                return getattr(one, name)
    raise AttributeError(f"module 'adsml_simulate' has no attribute {name!r}")
