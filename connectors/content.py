"""The content of a record as one number: what landing compares to tell a changed record from an unchanged one.

Belongs here: the definition of `content_hash`, whole. Does not belong here: what is done about a change (`landing`).

    content_hash = the sum, modulo 2^64, of mix(word(value) xor word(name of the field))
                   over the fields that have a value, without the key's and `source_updated_at`

    word    text          the first 8 bytes, little-endian, of BLAKE2b-64 of its UTF-8
            decimal       its digits as a whole number, at the field's scale: 2.50 at six decimals is 2500000
            whole number  itself; true is 1, false is 0
            float         the bits of the double, -0.0 as 0.0
            date          days since 1970-01-01
            instant       microseconds since 1970-01-01 UTC
    mix     the finaliser of SplitMix64

Stable for ever, across versions of everything: what was landed years ago is compared with what comes tomorrow. The order
of a record's fields is no matter, and a field that is added later changes nothing for the records that lack it. The key
is left out because only records with the same `record_id` are compared.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.records import ENTITIES, Record


def content_fields(model: type[Record]) -> list[str]:
    """The fields whose change makes a new version of a record."""
    return [name for name in model.model_fields if name not in (*model.key, "source_updated_at")]


def content_hashes(entity: str, table: pa.Table) -> np.ndarray:
    """`content_hash` of every row, as uint64. Columns are those of `arrow_schema`; text may be dictionary encoded."""
    total = np.zeros(table.num_rows, np.uint64)
    for name in content_fields(ENTITIES[entity]):
        column = table.column(name)
        if column.null_count == table.num_rows:
            continue
        if pa.types.is_string(column.type):
            column = column.dictionary_encode()
        values = column.combine_chunks()
        seed = _text_words([name])
        if pa.types.is_dictionary(values.type):
            # Each distinct text once.
            mixed = _mix(_text_words(values.dictionary.to_pylist()) ^ seed)
            mixed = mixed[pc.fill_null(values.indices, 0).to_numpy()]
        else:
            mixed = _mix(_words(values) ^ seed)
        if values.null_count:
            mixed[values.is_null().to_numpy(zero_copy_only=False)] = 0
        total += mixed
    return total


def _words(values: pa.Array) -> np.ndarray:
    """A new array with the word of each value; that of an absent one may be anything."""
    if pa.types.is_decimal(values.type):
        # 18 digits fit the lower half of the 128 bits, which are two's complement.
        halves = np.frombuffer(values.buffers()[1], np.uint64)
        return halves[2 * values.offset :: 2][: len(values)].copy()
    if pa.types.is_floating(values.type):
        return (pc.fill_null(values, 0.0).to_numpy() + 0.0).view(np.uint64)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    elif pa.types.is_date(values.type):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return pc.fill_null(values, 0).to_numpy().astype(np.int64).view(np.uint64)


def _text_words(texts: list[str]) -> np.ndarray:
    return np.frombuffer(b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts), "<u8")


def _mix(words: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, in place."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
