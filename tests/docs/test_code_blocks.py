"""What the pages tell people to run is run, page by page, as a newcomer would: in a folder of their own."""

import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_simulate import presets, simulate_account
from adsml_simulate.export import ExportFormat, write_export
from support.code_blocks import RUN, SHOWN, Block, blocks, pages

BLOCKS = [block for page in pages() for block in blocks(page)]
SECONDS = 300


def runnable(language: str) -> list[Path]:
    """Pages with something to run."""
    return [p for p in pages() if any(b.language == language and b.reason is None for b in blocks(p))]


def name(page: Path) -> str:
    return page.stem if page.parent.name != "protos" else "protos"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small account as exports of both kinds."""
    account = simulate_account(presets.clean(last_day=date(2026, 6, 30), config_id=1, days=60), seed=5)
    folder = tmp_path_factory.mktemp("export")
    write_export(account, folder / "pages")
    write_export(account, folder / "tidy", export_format=ExportFormat.CSV)
    return folder


@pytest.fixture
def newcomer(export: Path, tmp_path: Path) -> Path:
    """A folder with what the pages speak of: the environment, and files with their names."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # Without its ads, which are most of the rows: what is tried out is the page, not the models.
    lines = (export / "tidy" / "daily.csv").read_text().splitlines(keepends=True)
    few = "".join(line for line in lines if not line.startswith("ad,"))
    (tmp_path / "YOUR_EXPORT.csv").write_text(few)
    (tmp_path / "report.csv").write_text(few)
    shutil.copy(export / "pages" / "insights" / "campaign-0001.json", tmp_path / "export.json")
    shutil.copytree(export / "pages" / "insights", tmp_path / "reports")
    shutil.copy(export / "pages" / "changes.csv", tmp_path / "changes.csv")
    if (tmp_path / "changes.csv").read_text().count("\n") < 2:
        with (tmp_path / "changes.csv").open("a") as file:
            file.write("1,adset,23800001200000011,budget_change,2026-06-15,\n")
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ADSML_DATABASE_URL": f"sqlite:///{folder / 'page.db'}",
        "ADSML_ARTIFACT_URL": str(folder / "artifacts"),
        "ADSML_CACHE_DIR": str(folder / "cache"),
        "COLUMNS": "100",
    }


def run(command: list[str], folder: Path, *, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(folder), input=text, capture_output=True, text=True,
        check=False, timeout=SECONDS,
    )  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_every_block_says_what_it_is(block: Block) -> None:
    assert block.language in (*RUN, *SHOWN), f"{block.place}: name its language; output is text"
    assert block.reason is None or len(block.reason) > 10, f"{block.place}: say why it is not run"
    assert block.reason is None or block.language in RUN


@pytest.mark.parametrize("page", runnable("sh"), ids=name)
def test_shell_blocks_run(page: Path, newcomer: Path) -> None:
    """One shell for a page, so that what it exports stands for the rest of it."""
    if page.stem in NEEDS_DATA:
        made = run(["adsml", "import", "YOUR_EXPORT.csv", "--config-id", "1"], newcomer)
        assert made.returncode == 0, made.stderr
    here = [one for one in blocks(page) if one.language == "sh" and one.reason is None]
    script = "\n".join(f"echo '--- {one.place}' >&2\n{one.body}" for one in here)
    ran = run(["bash", "-euo", "pipefail", "-s"], newcomer, text=script)
    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"


NEEDS_DATA = ("for_schedulers",)
"""Pages that speak to people whose account is loaded already."""


@pytest.mark.parametrize("page", runnable("python"), ids=name)
def test_python_blocks_run(page: Path, newcomer: Path) -> None:
    """One interpreter for a page."""
    with_database = f"""
from adsml_common.database import Database
from adsml_common.store.metrics import MetricStore
database = Database.open("sqlite:///{newcomer / "page.db"}")
"""
    Database.open(f"sqlite:///{newcomer / 'page.db'}").migrate()
    here = [one for one in blocks(page) if one.language == "python" and one.reason is None]
    code = (with_database if page.stem == "import" else "") + "\n".join(one.body for one in here)
    ran = run([sys.executable, "-"], newcomer, text=code)
    assert ran.returncode == 0, ran.stderr[-4000:]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_to_pages_and_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [one for one in targets if "://" not in one and not (page.parent / one).exists()]
    assert missing == []
