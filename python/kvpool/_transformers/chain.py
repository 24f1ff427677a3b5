"""Keys of a prompt's blocks, and what a prefix needs of sliding layers. Pure: no pool, no tensors."""
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ROOT = hashlib.sha256(b"kvpool.transformers: tokens as u32, little-endian").digest()


def token_list(input_ids: Any) -> list[int]:
    """The tokens of one sequence: ints, or a tensor or array of shape [n] or [1, n]."""
    ids = input_ids.tolist() if hasattr(input_ids, "tolist") else list(input_ids)
    if ids and isinstance(ids[0], (list, tuple)):
        if len(ids) != 1:
            raise ValueError(f"input_ids hold {len(ids)} sequences: pass one at a time, each with a cache of its own")
        ids = list(ids[0])
    return ids


def block_keys(tokens: Sequence[int], block_tokens: int) -> list[bytes]:
    """A key of 32 bytes for each whole block; it covers every token up to the block's end."""
    keys, key = [], _ROOT
    for end in range(block_tokens, len(tokens) + 1, block_tokens):
        key = hashlib.sha256(key + struct.pack(f"<{block_tokens}I", *tokens[end - block_tokens:end])).digest()
        keys.append(key)
    return keys


def tail_key(key: bytes) -> bytes:
    """Of a block of which only the last `Tail.of(...).tokens` tokens are stored: a window begins inside it."""
    return key + b"tail"


@dataclass(frozen=True)
class Tail:
    """What a prefix of whole blocks needs of a sliding layer: the blocks from `first` on, and of that one the last
    `tokens` tokens."""
    first: int
    tokens: int

    @staticmethod
    def of(blocks: int, block_tokens: int, kept: int) -> "Tail":
        """`kept`: the tokens that a layer keeps for the next one, its window less one."""
        begin = max(0, blocks * block_tokens - kept)
        first = begin // block_tokens
        return Tail(first, (first + 1) * block_tokens - begin)


@dataclass(frozen=True)
class Stored:
    """What the pool has of a sliding group: for each block, whether it is there whole, and whether its tail is."""
    kept: int
    whole: Sequence[bool]
    tail: Sequence[bool]

    def covers(self, blocks: int, block_tokens: int) -> bool:
        need = Tail.of(blocks, block_tokens, self.kept)
        if not all(self.whole[need.first + 1:blocks]):
            return False
        return self.whole[need.first] or (need.tokens < block_tokens and self.tail[need.first])


def longest(hit: int, block_tokens: int, groups: Sequence[Stored]) -> int:
    """The most leading blocks, `hit` at most, whose end every sliding group can go on from."""
    for blocks in range(hit, 0, -1):
        if all(group.covers(blocks, block_tokens) for group in groups):
            return blocks
    return 0
