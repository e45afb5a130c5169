"""Arrays as one text reach PostgreSQL as what they were."""

from __future__ import annotations

from uuid import UUID

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from expedite_messaging import literals, testing

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)


async def test_any_texts_come_back_as_they_were() -> None:
    connection = await asyncpg.connect(testing.server_url())
    try:
        found: list[list[str | None]] = []
        odd = [
            ["a"],
            [],
            ["", 'x"y', "back\\slash", "{a,b}", "NULL", "null", None, " edge ", "新\n", '","'],
            [None],
            ['"'],
            ["\\"],
        ]

        @given(st.lists(TEXT | st.none(), max_size=6))
        def gather(values: list[str | None]) -> None:
            found.append(values)

        gather()
        for values in [*odd, *found]:
            assert await connection.fetchval("SELECT $1::text::text[]", literals.texts(values)) == values
    finally:
        await connection.close()


async def test_ids_and_numbers_come_back_as_they_were() -> None:
    connection = await asyncpg.connect(testing.server_url())
    ids = [UUID(int=0), UUID(int=2**128 - 1), UUID("01a2135f-cee5-8a70-a3db-637afa24ca8c")]
    try:
        assert await connection.fetchval("SELECT $1::text::uuid[]", literals.ids(ids)) == ids
        assert await connection.fetchval("SELECT $1::text::bigint[]", literals.numbers([1, None, -(2**62)])) == [
            1,
            None,
            -(2**62),
        ]
        assert await connection.fetchval("SELECT $1::text::bool[]", literals.numbers([True, None, False])) == [
            True,
            None,
            False,
        ]
        assert await connection.fetchval("SELECT $1::text::float8[]", literals.numbers([0.1, 1e300])) == [0.1, 1e300]
    finally:
        await connection.close()


async def test_a_quoted_text_comes_back_as_it_was() -> None:
    connection = await asyncpg.connect(testing.server_url())
    try:
        for text in (
            "",
            "'",
            "''; DROP TABLE x; --",
            "back\\slash\\'",
            'a "word"',
            "{1,2}",
            "line\nbreak",
            "Zoë 漢 🙂",
            "$1",
        ):
            assert await connection.fetchval(f"SELECT {literals.quoted(text)}::text") == text
    finally:
        await connection.close()
