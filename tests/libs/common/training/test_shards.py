"""Shards: the same everywhere and forever, and about even."""

from collections import Counter

from adsml_common.training.scope import group_of, shard_of
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(max_size=50), st.integers(1, 256))
def test_in_range(key: str, count: int) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    assert 0 <= shard_of(key, count) < count


def test_it_never_changes() -> None:
    """As written down at the first release: any other would hand a resumed run's items to other shards."""
    keys = ["1/campaign/23/leads", "1/adset/42", "12/ad/é"]
    assert [shard_of(key, 256) for key in keys] == [133, 21, 185]


def test_about_even() -> None:
    counts = Counter(shard_of(f"1/adset/{i}", 16) for i in range(16_000))
    # 1,000 each with a standard deviation of sqrt(16000 * 1/16 * 15/16) = 31: five of them.
    assert all(abs(count - 1000) < 155 for count in counts.values())
    assert len(counts) == 16


def test_a_group_is_whole_until_it_is_too_large() -> None:
    def groups(members: int) -> Counter[str]:
        return Counter(group_of(f"1/ad/{i}", within="1", members=members, most=1000) for i in range(members))

    assert groups(1000) == {"1": 1000}
    split = groups(4001)
    assert set(split) == {f"1#{part}" for part in range(5)}
    # 800 each with a standard deviation of sqrt(4001 * 1/5 * 4/5) = 25: five of them.
    assert all(abs(count - 800) < 127 for count in split.values())
