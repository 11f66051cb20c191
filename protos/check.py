"""Checks of the contracts by buf: ``python protos/check.py lint|breaking|format``.

lint
    buf's STANDARD and COMMENTS rules (buf.yaml).
breaking
    Whether a caller of the contracts on main would break: a field removed, renumbered, retyped, renamed...
    main is ``origin/main``, else ``main``; where the checked-out commit *is* main and its contracts are
    untouched, the commit before it. ``--against REF`` names another. Where there is nothing to compare with
    (a shallow clone, a main without contracts) it says so and passes.
format
    Shows what ``format --write`` would change, and fails if there is anything.

Nothing is fetched: protoc (`protoc.py`) compiles the contracts with what they import from installed
distributions, and buf reads the descriptor set. Exit status is buf's, 2 where the check itself could not be made.
"""

import argparse
import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from protoc import ProtocError, contracts, protoc

HERE = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Run the check that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(description="Checks of the contracts by buf.")
    parser.add_argument("--protos", type=Path, default=HERE, help="folder of the contracts (default: here)")
    checks = parser.add_subparsers(dest="check", required=True)
    checks.add_parser("lint", help="style, names and comments")
    breaking_parser = checks.add_parser("breaking", help="would callers of main break?")
    breaking_parser.add_argument("--against", metavar="REF", help="a commit (default: main)")
    format_parser = checks.add_parser("format", help="layout")
    format_parser.add_argument("--write", action="store_true", help="mend it instead of showing it")
    options = parser.parse_args(arguments)
    protos: Path = options.protos.resolve()
    try:
        if options.check == "lint":
            return lint(protos)
        if options.check == "breaking":
            return breaking(protos, against=options.against)
        return check_format(protos, write=options.write)
    except (CheckImpossible, ProtocError) as error:
        print(f"check.py {options.check}: {error}", file=sys.stderr)
        return 2


class CheckImpossible(Exception):
    """The check could not be made; the message says why and what to do."""


def lint(protos: Path) -> int:
    """Lint the contracts in `protos`; returns buf's exit status, 1 where protoc itself warns."""
    with tempfile.TemporaryDirectory() as temporary:
        image, warnings = compile_image(protos, Path(temporary) / "contracts.binpb")
        print(warnings, end="")
        status = _buf("lint", str(image), "--path", "adsml", "--config", str(protos / "buf.yaml"))
        return status or int(bool(warnings))


def breaking(protos: Path, *, against: str | None = None) -> int:
    """Compare the contracts in `protos` with those of a commit; returns buf's exit status.

    Parameters
    ----------
    protos
        Folder of the contracts, in a git work tree.
    against
        The commit to compare with; None for main as the module's docstring says.
    """
    reference = against or _main(protos)
    if reference is None:
        print("contracts: no main to compare with (a shallow clone or a first commit): nothing was compared")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        before = Path(temporary) / "archive"
        _extract(protos, reference, before)
        if not any(before.rglob("*.proto")):
            print(f"contracts: {reference} has none to compare with: nothing was compared")
            return 0
        old, _ = compile_image(before, Path(temporary) / "old.binpb")
        new, _ = compile_image(protos, Path(temporary) / "new.binpb")
        limits = ("--path", "adsml", "--config", str(protos / "buf.yaml"))
        status = _buf("breaking", str(new), "--against", str(old), *limits)
    print(f"contracts: {'no break' if status == 0 else 'BREAKS'} against {reference}")
    return status


def check_format(protos: Path, *, write: bool) -> int:
    """Show (or mend) what is not laid out as buf lays it out; returns buf's exit status."""
    mode = ("--write",) if write else ("--diff", "--exit-code")
    return _buf("format", "--path", "adsml", *mode, cwd=protos)


def compile_image(protos: Path, image: Path) -> tuple[Path, str]:
    """Compile the contracts in `protos` to a descriptor set with comments; returns it and protoc's warnings."""
    options = (f"--descriptor_set_out={image}", "--include_imports", "--include_source_info")
    return image, protoc(protos, contracts(protos), *options)


def _main(protos: Path) -> str | None:
    # The commit's own main, or its parent when it is main and adds nothing to it.
    for name in ("origin/main", "main"):
        commit = _git(protos, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if commit is None:
            continue
        if commit != _git(protos, "rev-parse", "HEAD"):
            return name
        if _git(protos, "status", "--porcelain", "--", "adsml") != "":
            return name
        return None if _git(protos, "rev-parse", "--verify", "--quiet", "HEAD^") is None else "HEAD^"
    return None


def _extract(protos: Path, reference: str, target: Path) -> None:
    # The tree of the commit at this folder, so that it need not be named as it is here.
    prefix = _git(protos, "rev-parse", "--show-prefix")
    if prefix is None:
        raise CheckImpossible(f"{protos} is not in a git work tree")
    if _git(protos, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}") is None:
        raise CheckImpossible(f"there is no commit {reference!r} here; fetch it, or name another")
    target.mkdir()
    if not _git(protos, "ls-tree", "--full-tree", reference, f"{prefix}adsml"):
        return
    command = [_tool("git"), "-C", str(protos), "archive", "--format=tar", reference, "adsml"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout  # noqa: S603
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(target, filter="data")


def _git(folder: Path, *arguments: str) -> str | None:
    done = subprocess.run(  # noqa: S603
        [_tool("git"), "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _buf(*arguments: str, cwd: Path | None = None) -> int:
    return subprocess.run([_tool("buf"), *arguments], cwd=cwd, check=False).returncode  # noqa: S603


def _tool(name: str) -> str:
    # Beside this interpreter first: the locked version.
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        raise CheckImpossible(f"{name} was not found; run `make setup`")
    return path


if __name__ == "__main__":
    sys.exit(main())
