"""Files that are read again when they change."""

import pytest
from adsml_common.serving.tls import WatchedFiles


def number(contents):
    return int(contents[0])


def write(path, text):
    """As secrets are replaced: beside, then moved over."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def test_a_change_is_seen_and_counted(tmp_path):
    path = tmp_path / "value"
    path.write_text("1")
    files = WatchedFiles([path], number)
    assert files.get() == (1, 1)
    assert files.get() == (1, 1)
    write(path, "22")
    assert files.get() == (22, 2)


@pytest.mark.parametrize("bad", ["no number", None])
def test_what_makes_no_sense_later_leaves_what_was(tmp_path, bad, caplog):
    path = tmp_path / "value"
    path.write_text("1")
    files = WatchedFiles([path], number)
    if bad is None:
        path.unlink()
    else:
        write(path, bad)
    assert files.get() == (1, 1)
    assert "keep what" in caplog.text
    write(path, "333")
    assert files.get() == (333, 2)


def test_what_makes_no_sense_at_first_is_an_error(tmp_path):
    path = tmp_path / "value"
    path.write_text("no number")
    with pytest.raises(ValueError, match="no number"):
        WatchedFiles([path], number)
    with pytest.raises(FileNotFoundError):
        WatchedFiles([tmp_path / "missing"], number)
