"""Which shard an item belongs to: the same on every machine, whatever else is in the run."""

import hashlib


def shard_of(key: str, shard_count: int) -> int:
    """Shard of an item, from 0 to `shard_count` - 1.

    A hash of the key, since Python's own differs from process to process; the same item stays in its shard
    when others come or go.

    Raises
    ------
    ValueError
        `shard_count` is below 1.
    """
    if shard_count < 1:
        raise ValueError(f"shard_count is {shard_count}; expected 1 or more")
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shard_count
