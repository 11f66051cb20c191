"""Which shard an item belongs to: the same on every machine, whatever else is in the run."""

import hashlib


def shard_of(key: str, shard_count: int) -> int:
    """Shard of an item, from 0 to `shard_count` - 1; it stays there when others come or go.

    By a hash of the key, since Python's own differs from process to process.
    """
    if shard_count < 1:
        raise ValueError(f"shard_count is {shard_count}; expected 1 or more")
    return _hash(key) % shard_count


def group_of(key: str, *, within: str, members: int, most: int) -> str:
    """The group of one of `members` items that share something, e.g. the account `within`: all, or about `most`.

    Larger groups are split by a hash of `key`, so that no shard is left with too much.
    """
    parts = max(1, -(-members // most))
    return within if parts == 1 else f"{within}#{_hash(key) % parts}"


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
