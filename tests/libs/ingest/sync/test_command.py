"""`adsml sync` as a CronJob runs it: its exit status, and killed in the middle of a load."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adsml_common.database import Database
from adsml_common.store.accounts import AccountStore
from adsml_common.store.metrics import MetricStore
from support.databases import migrated

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)

_KILLED = """
import os, signal, sys
from adsml_common.store.metrics import AccountLoad
add = AccountLoad.build_sums
def killed(self):
    add(self)  # all rows are written, nothing is committed
    os.kill(os.getpid(), signal.SIGKILL)
AccountLoad.build_sums = killed
from adsml_common.cli.main import main
sys.argv = ["adsml", "sync"]
main()
"""


def _rows(path: Path, *, leads: int) -> None:
    row: dict[str, Any] = {
        "account_id": "555", "campaign_id": "10", "adset_id": "20", "ad_id": "1", "spend": "10", "impressions": "1000",
        "clicks": "20", "actions": [{"action_type": "lead", "value": str(leads)}],
    }  # fmt: skip
    days = [(YESTERDAY - timedelta(days=back)).isoformat() for back in range(3)]
    path.write_text(
        "\n".join(json.dumps({**row, "date_start": day, "date_stop": day}) for day in days) + "\n"
    )


def _environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "in").mkdir()
    url = f"sqlite:///{tmp_path / 'adsml.db'}"
    migrated(url)
    text = f'[[account]]\nconfig_id = 1\nsource = "file://{tmp_path / "in"}"\n'
    (tmp_path / "sync.toml").write_text(text)
    return {
        **os.environ, "ADSML_DATABASE_URL": url, "ADSML_ARTIFACT_URL": str(tmp_path), "OMP_NUM_THREADS": "1",
        "ADSML_SYNC_FILE": str(tmp_path / "sync.toml"),
    }  # fmt: skip


def _run(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_killed_in_the_middle_nothing_is_half_there_and_the_next_run_brings_it(tmp_path: Path) -> None:
    env = _environment(tmp_path)
    database = Database.open(env["ADSML_DATABASE_URL"])
    _rows(tmp_path / "in" / "x.jsonl", leads=2)
    assert _run(env, "-c", _KILLED).returncode == -signal.SIGKILL
    assert MetricStore(database).daily(1).empty
    [status] = AccountStore(database).list()
    assert status.sync_finished_at is None
    done = _run(env, "-m", "adsml_common.cli", "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accounts"][0]["loaded"]["inserted"] == 9
    _rows(tmp_path / "in" / "x.jsonl", leads=5)
    before = MetricStore(database).daily(1)
    killed = _KILLED.replace('"sync"]', '"sync", "--force"]')
    assert _run(env, "-c", killed).returncode == -signal.SIGKILL
    assert MetricStore(database).daily(1).equals(before)
    database.close()


def test_the_exit_status_says_whether_yesterday_is_there(tmp_path: Path) -> None:
    env = _environment(tmp_path)
    _rows(tmp_path / "in" / "x.jsonl", leads=2)
    text = (tmp_path / "in" / "x.jsonl").read_text()
    (tmp_path / "in" / "x.jsonl").write_text("".join(text.splitlines(keepends=True)[1:]))
    late = _run(env, "-m", "adsml_common.cli", "sync")
    assert late.returncode == 1
    assert f"it ends on {YESTERDAY - timedelta(days=1)}" in " ".join(late.stderr.split())
    assert late.stdout.splitlines()[0] == "0 of 1 account up to date, 1 not."
    listed = _run(env, "-m", "adsml_common.cli", "accounts", "--json")
    assert json.loads(listed.stdout)["accounts"][0]["account"]["account_id"] == "555"
