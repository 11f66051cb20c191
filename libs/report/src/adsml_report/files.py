"""Where pages go: a folder, or whatever fsspec reaches by URL."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
from adsml_common.domain.errors import InvalidInput, Unavailable
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Folder:
    """A place for files, each of which appears whole or not at all."""

    url: str
    files: Any
    root: str

    @classmethod
    def open(cls, url: str, *, make: bool) -> "Folder":
        """The folder; with `make` a missing one of a disk is made. `InvalidInput`: missing, or of an unknown kind."""
        try:
            files, root = fsspec.core.url_to_fs(url or ".")
        except (ImportError, ValueError) as error:
            raise InvalidInput.at("--output", f"{error}; expected a path, file://, s3:// or gs://") from None
        if isinstance(files, LocalFileSystem):
            if make:
                files.makedirs(root, exist_ok=True)
            elif not files.isdir(root):
                raise InvalidInput.at("--output", f"there is no folder {root}; make it first")
        return cls(url.rstrip("/"), files, root.rstrip("/"))

    def write(self, name: str, text: str) -> str:
        """Write a page; its path or URL. `Unavailable` where the store does not take it."""
        path, data = f"{self.root}/{name}", text.encode()
        try:
            if isinstance(self.files, LocalFileSystem):
                _replace(Path(path), data)
            else:
                self.files.pipe_file(path, data)
        # Every file system behind fsspec brings exceptions of its own; all of them mean the same here.
        except Exception as error:
            raise Unavailable(f"{name} can't be written to {self.url or 'this folder'}: {error}") from error
        return f"{self.url}/{name}" if self.url else name


def _replace(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as out:
        try:
            out.write(data)
            out.flush()
            Path(out.name).chmod(0o644)
            Path(out.name).replace(path)
        finally:
            Path(out.name).unlink(missing_ok=True)
