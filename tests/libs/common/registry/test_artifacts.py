"""The artifact store in a folder, in S3, in memory: whole or not at all, never overwritten, checked."""

import errno
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from adsml_common.domain.errors import ArtifactCorrupt, FailedPrecondition, Unavailable
from adsml_common.registry.artifacts import ArtifactStore, is_temporary
from adsml_common.settings import SettingsError
from moto.server import ThreadedMotoServer

DATA = b"a model" * 100
SHA = hashlib.sha256(DATA).hexdigest()
KEY = "classifier/1/adset/0123-abc.zip"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"adsml-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/models"


@pytest.fixture(params=["folder", "s3", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    return str(tmp_path / "artifacts") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def store(url: str, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(url, cache_dir=tmp_path / "cache")


def _uncached(url: str, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(url, cache_dir=tmp_path / uuid.uuid4().hex)


def test_what_goes_in_comes_out(store: ArtifactStore, url: str, tmp_path: Path) -> None:
    store.put(KEY, DATA)
    assert store.get(KEY, sha256=SHA) == DATA
    assert _uncached(url, tmp_path).get(KEY, sha256=SHA) == DATA


def test_the_same_again_is_fine_but_nothing_is_overwritten(store: ArtifactStore) -> None:
    store.put(KEY, DATA)
    store.put(KEY, DATA)
    with pytest.raises(FailedPrecondition, match="exists with another content"):
        store.put(KEY, b"another")
    assert store.fetch(KEY, sha256=SHA) == DATA


def test_racing_writers_of_one_key_keep_one_content(url: str, tmp_path: Path) -> None:
    stores = [_uncached(url, tmp_path) for _ in range(4)]
    contents = [bytes([i]) * 50_000 for i in range(4)]

    def put(i: int) -> bool:
        try:
            stores[i].put(KEY, contents[i])
        except FailedPrecondition:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(put, range(4)))
    assert sum(won) == 1
    winner = contents[won.index(True)]
    assert stores[0].fetch(KEY, sha256=hashlib.sha256(winner).hexdigest()) == winner


def test_a_missing_one_is_corrupt(store: ArtifactStore) -> None:
    store.put("other.zip", DATA)
    with pytest.raises(ArtifactCorrupt, match="is missing from the store"):
        store.get(KEY, sha256=SHA)


def test_a_damaged_one_is_corrupt_and_not_cached(store: ArtifactStore) -> None:
    store.put(KEY, DATA)
    wrong = hashlib.sha256(b"what was meant").hexdigest()
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt, match="does not match its checksum"):
            store.get(KEY, sha256=wrong)


def test_keys_entries_and_delete(store: ArtifactStore) -> None:
    assert store.keys() == []
    for key in ("b/2.zip", "a/1.zip", "a/b/3.zip"):
        store.put(key, DATA)
    assert store.keys() == ["a/1.zip", "a/b/3.zip", "b/2.zip"]
    entry = store.entries()[0]
    assert (entry.key, entry.size_bytes) == ("a/1.zip", len(DATA))
    assert abs(datetime.now(UTC) - entry.modified) < timedelta(minutes=5)
    store.delete("a/1.zip")
    store.delete("a/1.zip")
    assert store.keys() == ["a/b/3.zip", "b/2.zip"]


def test_another_process_sees_what_was_written_later(url: str, tmp_path: Path) -> None:
    writer, reader = _uncached(url, tmp_path), _uncached(url, tmp_path)
    writer.put("other.zip", DATA)
    assert reader.keys() == ["other.zip"]
    with pytest.raises(ArtifactCorrupt):
        reader.get(KEY, sha256=SHA)
    writer.put(KEY, DATA)
    assert reader.keys() == [KEY, "other.zip"]
    assert reader.get(KEY, sha256=SHA) == DATA


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/./b", "a b", "a\0"])
def test_a_key_that_points_elsewhere_is_refused(store: ArtifactStore, key: str) -> None:
    for call in (
        lambda: store.put(key, DATA),
        lambda: store.fetch(key, sha256=SHA),
        lambda: store.delete(key),
    ):
        with pytest.raises(FailedPrecondition, match="no artifact key"):
            call()


def test_the_cache_serves_while_the_store_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    store = ArtifactStore(str(folder), cache_dir=tmp_path / "cache")
    store.put(KEY, DATA)
    store.get(KEY, sha256=SHA)
    folder.rename(tmp_path / "unmounted")
    assert store.get(KEY, sha256=SHA) == DATA
    with pytest.raises(Unavailable):
        store.fetch(KEY, sha256=SHA)


def opened(tmp_path: Path) -> AbstractContextManager[sqlite3.Connection]:
    """The file of the cache."""
    return closing(sqlite3.connect(tmp_path / "cache" / "artifacts.db", isolation_level=None))


def test_a_damaged_copy_in_the_cache_heals(store: ArtifactStore, tmp_path: Path) -> None:
    store.put(KEY, DATA)
    store.get(KEY, sha256=SHA)
    with opened(tmp_path) as cache:
        cache.execute("UPDATE cache SET value = ?", (b"flipped" + DATA,))
    assert store.get(KEY, sha256=SHA) == DATA
    with opened(tmp_path) as cache:
        assert cache.execute("SELECT key, value FROM cache").fetchall() == [(SHA, DATA)]


def test_a_cache_that_can_not_be_written_is_no_failure(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    store = ArtifactStore(url, cache_dir=tmp_path / "file" / "cache")
    store.put(KEY, DATA)
    assert store.get(KEY, sha256=SHA) == DATA


def test_the_cache_drops_what_was_not_used_for_longest(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache", cache_bytes=250)
    shas = []
    for i in range(4):
        data = bytes([i]) * 100
        shas.append(hashlib.sha256(data).hexdigest())
        store.put(f"{i}.zip", data)
        store.get(f"{i}.zip", sha256=shas[i])
        with opened(tmp_path) as cache:
            # An hour of difference, the first one just used.
            for hour, sha in enumerate([*shas[1:], shas[0]]):
                cache.execute("UPDATE cache SET used = ? WHERE key = ?", (hour * 3600.0, sha))
    with opened(tmp_path) as cache:
        kept = {key for (key,) in cache.execute("SELECT key FROM cache")}
    assert kept == {shas[0], shas[3]}


def test_s3_away_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    store = ArtifactStore(s3, cache_dir=tmp_path / "cache")
    gone = ArtifactStore("s3://no-such-bucket-here/models", cache_dir=tmp_path / "cache")
    with pytest.raises(Unavailable):
        gone.get(KEY, sha256=SHA)
    with pytest.raises(Unavailable):
        gone.put(KEY, DATA)
    store.put(KEY, DATA)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = ArtifactStore(s3, cache_dir=tmp_path / "cache")
    for call in (lambda: away.put(KEY, DATA), lambda: away.get(KEY, sha256=SHA), away.keys):
        with pytest.raises(Unavailable, match="the artifact store is unavailable"):
            call()


def test_a_folder_that_can_not_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    store = ArtifactStore(str(tmp_path / "file"), cache_dir=tmp_path / "cache")
    with pytest.raises(Unavailable, match="can't write"):
        store.put(KEY, DATA)


@pytest.mark.parametrize("url", ["nonsense://bucket", "ftp2://u:hunter2@host/x"])
def test_a_url_of_an_unknown_kind_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ADSML_ARTIFACT_URL=") as error:
        ArtifactStore(url, cache_dir=tmp_path)
    assert "hunter2" not in error.value.message


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_forms_of_a_folder(form: str, tmp_path: Path) -> None:
    ArtifactStore(form.format(tmp_path / "x"), cache_dir=tmp_path / "c").put(KEY, DATA)
    assert (tmp_path / "x" / KEY).read_bytes() == DATA


def test_a_relative_folder_does_not_move_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = ArtifactStore("artifacts", cache_dir=tmp_path / "c")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put(KEY, DATA)
    assert (tmp_path / "artifacts" / KEY).exists()


@pytest.mark.parametrize("point", ["os.fsync", "pathlib.Path.hardlink_to"])
def test_a_kill_while_writing_leaves_no_half_file_under_the_key(point: str, tmp_path: Path) -> None:
    program = """
import os, pathlib, signal, sys
from adsml_common.registry.artifacts import ArtifactStore
module, _, name = sys.argv[2].rpartition(".")
owner = os if module == "os" else pathlib.Path
setattr(owner, name, lambda *args: os.kill(os.getpid(), signal.SIGKILL))
ArtifactStore(sys.argv[1], cache_dir=pathlib.Path(sys.argv[1]) / "c").put("m/1.zip", b"x" * 100_000)
"""
    folder = tmp_path / "artifacts"
    died = subprocess.run([sys.executable, "-c", program, str(folder), point], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    store = ArtifactStore(str(folder), cache_dir=tmp_path / "cache")
    assert store.keys() == []
    assert [is_temporary(entry.key) for entry in store.entries()] == [True]
    store.put("m/1.zip", DATA)
    assert store.fetch("m/1.zip", sha256=SHA) == DATA


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def no_links(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    store = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")
    store.put(KEY, DATA)
    store.put(KEY, DATA)
    with pytest.raises(FailedPrecondition):
        store.put(KEY, b"another")
    assert store.fetch(KEY, sha256=SHA) == DATA
    assert store.keys() == [KEY]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_store_that_is_full_is_no_matter_of_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("adsml_common.registry.artifacts._write_local", full)
    with pytest.raises(FailedPrecondition, match=os.strerror(number)):
        store.put("a.zip", b"1")
