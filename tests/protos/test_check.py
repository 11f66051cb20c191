"""The checks of the contracts find what they are for, and say so when they have nothing to compare."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = Path(__file__).resolve().parents[2] / "protos"
TIER = Path("adsml/common/v1/tier.proto")
LAST = "  TIER_UNDERPERFORMER = 4;\n"


def git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


def check(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, PROTOS / "check.py", "--protos", protos, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def edit(protos: Path, old: str, new: str, path: Path = TIER) -> None:
    text = (protos / path).read_text()
    assert old in text
    (protos / path).write_text(text.replace(old, new))


def commit(protos: Path) -> None:
    git(protos, "commit", "--all", "--message", "change")


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """The contracts as the one commit of a branch that is checked out beside main."""
    protos = tmp_path / "repository" / "protos"
    shutil.copytree(PROTOS, protos, ignore=shutil.ignore_patterns("gen", "__pycache__", "dist"))
    git(protos.parent, "init", "--initial-branch=main")
    git(protos.parent, "add", ".")
    commit(protos)
    git(protos.parent, "switch", "--create", "work")
    return protos


def test_the_contracts_pass() -> None:
    for name in ("lint", "format"):
        done = check(PROTOS, name)
        assert done.returncode == 0, done.stdout + done.stderr


def test_lint_wants_a_comment_on_everything(protos: Path) -> None:
    edit(protos, LAST, f"{LAST}\n  TIER_NEW = 5;\n")
    done = check(protos, "lint")
    assert done.returncode != 0
    assert "adsml/common/v1/tier.proto" in done.stdout
    assert 'Enum value "TIER_NEW" should have a non-empty comment' in done.stdout


def test_lint_knows_the_rules_and_what_is_imported_in_vain(protos: Path) -> None:
    edit(
        protos,
        "package adsml.common.v1;\n",
        'package adsml.common.v1;\n\nimport "buf/validate/validate.proto";\n',
    )
    done = check(protos, "lint")
    assert done.returncode != 0
    assert "warning: Import buf/validate/validate.proto is unused" in done.stdout
    edit(
        protos,
        LAST,
        LAST.replace(";", "[deprecated = true];")
        + "}\n// M is ruled.\nmessage M {\n  // Of it.\n  int32 n = 1 [(buf.validate.field).int32.gte = 1];\n",
    )
    done = check(protos, "lint")
    assert (done.returncode, done.stdout) == (0, "")


def test_format_shows_and_mends(protos: Path) -> None:
    edit(protos, LAST, f"   {LAST}")
    assert "TIER_UNDERPERFORMER" in check(protos, "format").stdout
    assert check(protos, "format").returncode != 0
    assert check(protos, "format", "--write").returncode == 0
    assert check(protos, "format").returncode == 0
    assert (protos / TIER).read_text() == (PROTOS / TIER).read_text()


def test_breaking_finds_a_removed_field(protos: Path) -> None:
    edit(protos, "  bool changed = 2;\n", "", Path("adsml/common/v1/feedback.proto"))
    done = check(protos, "breaking")
    assert done.returncode != 0
    assert 'field "2" with name "changed" on message "FeedbackReceipt" was deleted' in done.stdout


def test_breaking_finds_a_removed_file(protos: Path) -> None:
    (protos / "adsml/training/v1/training_service.proto").unlink()
    done = check(protos, "breaking")
    assert done.returncode != 0
    assert "training_service.proto" in done.stdout


def test_an_addition_breaks_nobody(protos: Path) -> None:
    edit(protos, LAST, f"{LAST}  // New.\n  TIER_NEW = 5;\n")
    done = check(protos, "breaking")
    assert (done.returncode, done.stdout) == (0, "contracts: no break against main\n")


def test_on_main_the_commit_before_is_compared(protos: Path) -> None:
    git(protos, "switch", "main")
    edit(protos, LAST, "")
    commit(protos)
    done = check(protos, "breaking")
    assert done.returncode != 0
    assert "against HEAD^" in done.stdout


def test_uncommitted_change_on_main_is_compared_with_main(protos: Path) -> None:
    git(protos, "switch", "main")
    edit(protos, LAST, "")
    done = check(protos, "breaking")
    assert done.returncode != 0
    assert "against main" in done.stdout


def test_main_of_the_remote_goes_before_a_local_one(protos: Path) -> None:
    git(protos, "update-ref", "refs/remotes/origin/main", "HEAD")
    edit(protos, LAST, "")
    commit(protos)
    git(protos, "branch", "--force", "main", "HEAD")
    done = check(protos, "breaking")
    assert done.returncode != 0
    assert "against origin/main" in done.stdout


def test_shallow_clone_without_main_says_that_nothing_was_compared(protos: Path, tmp_path: Path) -> None:
    edit(protos, LAST, "")
    commit(protos)
    origin = protos.parent.as_uri()
    git(tmp_path, "clone", "--depth=1", "--branch=work", origin, "shallow")
    git(tmp_path / "shallow", "remote", "remove", "origin")
    done = check(tmp_path / "shallow" / "protos", "breaking")
    assert done.returncode == 0
    assert "nothing was compared" in done.stdout


def test_main_without_contracts_says_that_nothing_was_compared(protos: Path) -> None:
    git(protos.parent, "switch", "--orphan", "empty")
    git(protos.parent, "commit", "--allow-empty", "--message", "start")
    git(protos.parent, "branch", "--force", "main", "HEAD")
    git(protos.parent, "switch", "work")
    done = check(protos, "breaking")
    assert done.returncode == 0
    assert done.stdout == "contracts: main has none to compare with: nothing was compared\n"


def test_unknown_commit_is_an_error_and_not_a_pass(protos: Path) -> None:
    done = check(protos, "breaking", "--against", "v0.0.0")
    assert done.returncode == 2
    assert "no commit 'v0.0.0'" in done.stderr
