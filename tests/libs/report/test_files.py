"""Pages go to a folder or a bucket, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from adsml_common.domain.errors import InvalidInput, Unavailable
from adsml_report.files import Folder
from moto.server import ThreadedMotoServer


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="reports")
    yield "s3://reports/nightly"
    server.stop()


def test_a_folder_is_made_where_pages_of_many_accounts_go(tmp_path: Path) -> None:
    folder = Folder.open(f"file://{tmp_path}/new/pages/", make=True)
    assert folder.write("1.html", "<p>ä</p>") == f"file://{tmp_path}/new/pages/1.html"
    assert (tmp_path / "new" / "pages" / "1.html").read_text(encoding="utf-8") == "<p>ä</p>"
    assert [one.name for one in (tmp_path / "new" / "pages").iterdir()] == ["1.html"], (
        "nothing half-written beside it"
    )


def test_a_page_replaces_the_one_of_yesterday(tmp_path: Path) -> None:
    folder = Folder.open(str(tmp_path), make=False)
    folder.write("1.html", "yesterday's, which was longer")
    folder.write("1.html", "today's")
    assert (tmp_path / "1.html").read_text(encoding="utf-8") == "today's"


def test_a_bucket(bucket: str) -> None:
    assert Folder.open(bucket, make=True).write("1.html", "page") == f"{bucket}/1.html"
    stored = boto3.client("s3").get_object(Bucket="reports", Key="nightly/1.html")
    assert stored["Body"].read() == b"page"


def test_what_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        Folder.open(str(tmp_path / "absent"), make=False)
    with pytest.raises(InvalidInput, match="expected a path"):
        Folder.open("ftq://pages", make=True)
    (tmp_path / "1.html").mkdir()
    with pytest.raises(Unavailable, match=r"1\.html can't be written"):
        Folder.open(str(tmp_path), make=False).write("1.html", "page")
