"""Bundles: the same bytes for the same model, and nothing odd gets through."""

import hashlib
import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.bundle import FORMAT_VERSION, Bundle, pack, unpack
from hypothesis import given
from hypothesis import strategies as st

FROZEN = Path(__file__).parent / "bundles"
FILES = {"model.json": b'{"a": 1}', "trees/0.bin": bytes(range(256))}


def _manifest(files: Mapping[str, bytes], /, **changes: Any) -> bytes:
    raw: dict[str, Any] = {
        "format_version": 1,
        "model_type": "t",
        "feature_columns": [],
        "library_versions": {},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    return json.dumps(raw | changes).encode()


def _zip(entries: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?\.(json|bin)", fullmatch=True),
        st.binary(max_size=200),
        max_size=5,
    ),
    st.lists(st.text(max_size=10), max_size=4),
)
def test_there_and_back(files: dict[str, bytes], columns: list[str]) -> None:
    packed = Bundle.of(model_type="t", files=files, feature_columns=columns, library_versions={"numpy": "2"})
    found = unpack(pack(packed))
    assert found == packed
    assert found.manifest.feature_columns == tuple(columns)


def test_the_bytes_depend_on_the_contents_only() -> None:
    one = Bundle.of(model_type="t", files=FILES, library_versions={"a": "1", "b": "2"})
    other = Bundle.of(
        model_type="t", files=dict(reversed(FILES.items())), library_versions={"b": "2", "a": "1"}
    )
    assert pack(one) == pack(other)


def test_every_former_format_can_be_read() -> None:
    found = sorted(FROZEN.glob("format_*.zip"))
    assert [int(path.stem.rpartition("_")[2]) for path in found] == list(range(1, FORMAT_VERSION + 1))
    for path in found:
        bundle = unpack(path.read_bytes())
        assert bundle.manifest.model_type == "frozen_example"
        assert bundle.manifest.feature_columns == ("cpl_ratio", "ctr_ratio")
        assert bundle.manifest.library_versions == {"numpy": "2.0.0", "python": "3.11.7"}
        assert bundle.json("parameters.json") == {"threshold": 0.25, "name": "été"}
        assert bundle.files["trees/0.bin"] == bytes(range(256))
        assert bundle.files["empty"] == b""


def test_the_frozen_files_are_as_they_were_committed() -> None:
    digest = hashlib.sha256((FROZEN / "format_1.zip").read_bytes()).hexdigest()
    assert digest == "5f5f9c96935b53747dd4831ef9ee27cfe45ee25fdd7d18c8a54c9196dd018970"


def test_a_newer_format_is_told_with_its_cure() -> None:
    with pytest.raises(ArtifactCorrupt, match=r"format 2, this version reads up to 1: upgrade") as error:
        unpack(_zip([("manifest.json", _manifest({}, format_version=2))]))
    assert error.value.metadata == {"format_version": "2"}


def test_every_flipped_byte_is_noticed_or_harmless() -> None:
    """A flip may hit bytes of the container that mean nothing; then what comes out is what went in."""
    whole = pack(Bundle.of(model_type="t", files=FILES))
    wanted = unpack(whole)
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        try:
            assert unpack(bytes(damaged)) == wanted
        except ArtifactCorrupt:
            noticed += 1
    assert noticed > len(whole) / 2


@pytest.mark.parametrize("length", [0, 1, 10, 100])
def test_a_cut_file_is_noticed(length: int) -> None:
    with pytest.raises(ArtifactCorrupt):
        unpack(pack(Bundle.of(model_type="t", files=FILES))[:length])


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("a", b"1")], "has no manifest.json"),
        ([("manifest.json", b"{")], "can't be read"),
        ([("manifest.json", b"[]")], "can't be read"),
        ([("manifest.json", b"[" * 100_000)], "can't be read"),
        ([("manifest.json", b"{}")], "can't be read"),
        ([("manifest.json", _manifest({}, format_version=0))], "no valid format version"),
        ([("manifest.json", _manifest({}, format_version="1"))], "no valid format version"),
        ([("manifest.json", _manifest({}, format_version=True))], "no valid format version"),
        ([("manifest.json", _manifest({}, model_type=None))], "expected text"),
        ([("manifest.json", _manifest({}, feature_columns=[1]))], "expected text"),
        ([("manifest.json", _manifest({}, files=[]))], "can't be read"),
        ([("manifest.json", _manifest({"a": b"1"}))], "do not agree on 'a'"),
        ([("manifest.json", _manifest({})), ("a", b"1")], "do not agree on 'a'"),
        ([("manifest.json", _manifest({"a": b"1"})), ("a", b"2")], "a does not match its checksum"),
        (
            [("manifest.json", _manifest({"../a": b"1"})), ("../a", b"1")],
            "not a plain relative path|points out",
        ),
        ([("manifest.json", _manifest({"/etc/a": b"1"})), ("/etc/a", b"1")], "not a plain relative path"),
        ([("manifest.json", _manifest({"c:a": b"1"})), ("c:a", b"1")], "not a plain relative path"),
        ([("manifest.json", _manifest({"a\\b": b"1"})), ("a\\b", b"1")], "not a plain relative path"),
        ([("manifest.json", _manifest({"a//b": b"1"})), ("a//b", b"1")], "not a plain relative path"),
        ([("manifest.json", _manifest({"d/": b""})), ("d/", b"")], "not a plain relative path"),
        ([("manifest.json", _manifest({"a.pkl": b"1"})), ("a.pkl", b"1")], "pickle"),
    ],
)
def test_odd_bundles_are_refused(entries: list[tuple[str, bytes]], reason: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=reason):
        unpack(_zip(entries))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_names_are_refused() -> None:
    with pytest.raises(ArtifactCorrupt, match="doubled names"):
        unpack(_zip([("manifest.json", _manifest({"a": b"1"})), ("a", b"1"), ("a", b"1")]))


def test_too_many_files_are_refused() -> None:
    files = {f"{i}": b"" for i in range(1001)}
    with pytest.raises(ArtifactCorrupt, match="more than 1000 files"):
        unpack(_zip([("manifest.json", _manifest(files)), *files.items()]))


def test_a_bomb_that_says_so_is_not_unpacked() -> None:
    bomb = b"\0" * (2 << 20)
    with pytest.raises(ArtifactCorrupt, match="more than 1 MiB"):
        unpack(_zip([("manifest.json", _manifest({"a": bomb})), ("a", bomb)]), max_bytes=1 << 20)


def test_a_bomb_that_lies_about_its_size_is_cut_off() -> None:
    """Its directory says 10 bytes; its stream unpacks to 20 million, of which no more than that is taken."""
    bomb = b"\0" * 20_000_000
    whole = bytearray(_zip([("manifest.json", _manifest({"a": bomb})), ("a", bomb)]))
    real, claim = len(bomb).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert whole.count(real) >= 2
    lying = bytes(whole.replace(real, claim))
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactCorrupt):
            unpack(lying)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_encrypted_file_is_refused() -> None:
    whole = bytearray(_zip([("manifest.json", _manifest({"a": b"1"})), ("a", b"1")]))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.rfind(signature) + offset] |= 1
    with pytest.raises(ArtifactCorrupt, match="damaged"):
        unpack(bytes(whole))


@pytest.mark.parametrize("name", ["model.pkl", "a/MODEL.PICKLE", "m.joblib"])
def test_a_pickle_is_not_packed(name: str) -> None:
    with pytest.raises(ValueError, match="pickle"):
        pack(Bundle.of(model_type="t", files={name: pickle.dumps(1)}))


@pytest.mark.parametrize("name", ["", "manifest.json", "../a", "/a", "a\\b"])
def test_a_name_that_could_not_be_read_is_not_packed(name: str) -> None:
    with pytest.raises(ValueError, match="a bundle can't hold"):
        pack(Bundle.of(model_type="t", files={name: b""}))


def test_json_of_a_file_that_is_missing_or_none() -> None:
    bundle = Bundle.of(model_type="t", files={"a.json": b"{", "b.json": b"[1]"})
    assert bundle.json("b.json") == [1]
    with pytest.raises(ArtifactCorrupt, match=r"a\.json is not JSON"):
        bundle.json("a.json")
    with pytest.raises(ArtifactCorrupt, match=r"no file c\.json"):
        bundle.json("c.json")
