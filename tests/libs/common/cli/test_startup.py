"""A command imports what it needs: help imports no family, a family's command no other family."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "numpy", "pandas", "scipy", "sqlalchemy", "alembic", "grpc", "google.protobuf", "protovalidate", "pydantic", "xgboost",
    "prophet", "sklearn", "numba", "fsspec", "cryptography", "kubernetes", "jinja2",
)  # fmt: skip
OURS = (
    "adsml_anomaly.cli", "adsml_classifier.cli", "adsml_forecasting.cli", "adsml_forecasting.cli_forecast",
    "adsml_impact.cli", "adsml_ingest.cli", "adsml_report.cli", "adsml_simulate.cli", "adsml_common.database",
    "adsml_common.serving", "adsml_common.registry", "adsml_common.training", "adsml.common",
)  # fmt: skip


def loaded(*words: str, among: tuple[str, ...]) -> list[str]:
    """Which modules a command has imported by the time that it leaves."""
    code = (
        f"import sys\nfrom adsml_common.cli.main import main\nsys.argv = ['adsml', *{words!r}]\n"
        f"try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(*[name for name in {among!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return ran.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("train", "--help"), ("evaluate", "--help")])
def test_help_loads_nothing_heavy_and_no_family(words: tuple[str, ...]) -> None:
    # Typer itself loads pydantic for a command below the first.
    allowed = {"pydantic"} if len(words) > 1 else set()
    assert set(loaded(*words, among=(*HEAVY, *OURS))) <= allowed


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("forecast",), "adsml_forecasting.cli_forecast"),
        (("classify",), "adsml_classifier.cli"),
        (("train", "anomaly-detectors"), "adsml_anomaly.cli"),
        (("import",), "adsml_ingest.cli"),
    ],
)
def test_a_command_loads_its_own_family_alone(words: tuple[str, ...], own: str) -> None:
    clis = tuple(name for name in OURS if ".cli" in name)
    assert loaded(*words, "--help", among=clis) == [own]


def test_serve_pins_threads_before_what_they_are_for_is_loaded() -> None:
    """Libraries read the number of their threads when they are imported: until a family serves, none is."""
    code = (
        "import sys; from adsml_common.cli import family, serve; one = family.family('classifier'); "
        f"print(*[name for name in {HEAVY[:3]!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_processes_of_a_command_find_the_libraries_wherever_it_was_started(
    tmp_path: Path, method: str
) -> None:
    # Python looks in the current folder first: a random.py or calendar.py there ended every training process.
    for name in ("random", "calendar", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    code = (
        "import multiprocessing, sys\nfrom adsml_common.cli.main import script\n"
        "if __name__ == '__main__':\n    sys.argv = ['adsml', '--version']\n"
        "    try:\n        script()\n    except SystemExit:\n        pass\n"
        f"    process = multiprocessing.get_context({method!r}).Process(target=print, args=('ran',))\n"
        "    process.start()\n    process.join()\n    sys.exit(process.exitcode)\n"
    )
    script = tmp_path / "elsewhere" / "command.py"
    script.parent.mkdir()
    script.write_text(code)
    ran = subprocess.run(
        [sys.executable, str(script)], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "ran"), ran.stderr
