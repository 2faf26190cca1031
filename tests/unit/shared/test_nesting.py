"""Depth is told from the bytes, whatever stands in strings and however deep it goes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.nesting import cut, depth, too_deep

values = st.recursive(
    st.none() | st.text(st.sampled_from('a[]{}"\\')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "[", '"}']), inner, max_size=3),
)


def levels(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(levels, value.values() if isinstance(value, dict) else value), default=0)


def shallow(value: Any, deepest: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if not deepest:
        return None
    if isinstance(value, dict):
        return {key: shallow(item, deepest - 1) for key, item in value.items()}
    return [shallow(item, deepest - 1) for item in value]


@given(values, st.integers(0, 4))
def test_depth_and_cut_agree_with_what_the_text_says(value: Any, deepest: int) -> None:
    text = json.dumps(value).encode()
    assert depth(text) == levels(value)
    assert json.loads(cut(text, deepest)) == shallow(value, deepest)


@given(st.lists(values, max_size=5), st.integers(1, 4))
def test_the_texts_too_deep_are_found_among_others(found: list[Any], deepest: int) -> None:
    texts = [json.dumps(value).encode() for value in found]
    assert too_deep(texts, deepest) == [index for index, value in enumerate(found) if levels(value) > deepest]


@pytest.mark.parametrize("text", [b"[" * 1_000_000, b'"' + b'\\"' * 500_000, b'{"a":' * 200_000])
def test_what_never_ends_is_looked_at_once(text: bytes) -> None:
    assert depth(text) in (0, text.count(b"[") + text.count(b"{"))
    assert len(cut(text, 4)) <= len(text) + 24
