"""The command is there at once: what is heavy is loaded by the command that needs it."""

import subprocess
import sys

HEAVY = ("numpy", "pandas", "sqlalchemy", "grpc", "xgboost", "prophet", "sklearn", "numba")


def test_building_the_command_loads_nothing_heavy() -> None:
    # `adsml serve` pins the threads of numeric libraries, which only works before they are imported.
    code = (
        "import sys; from adsml_common.cli.main import build; build(); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []
