"""What the inputs of a text model are for, by the names that exporters give them."""

from __future__ import annotations

import re

_PATTERNS = {
    "mask": r"mask|(.+_)?(attention|attn|input)_mask",
    "types": r"(.+_)?(token_type|type|segment|seg)_ids?|(.+_)?(token_types?|segments?)",
    "positions": r"(.+_)?(position|pos)_ids?|(.+_)?positions?",
}
_SUFFIX = re.compile(r"(:\d+)$")
_SIGNS = re.compile(r"[^a-z0-9]+")


def role_of(name: str) -> str:
    """What stands beside token numbers in an input of this name; empty for anything else.

    ``mask`` is 1 where a token is and 0 where padding is, ``types`` says which text of a pair a
    token belongs to, ``positions`` counts the tokens. A ``padding_mask`` is none of these, because
    half of the frameworks mean the opposite by it.
    """
    plain = _SIGNS.sub("_", _SUFFIX.sub("", name.lower())).strip("_")
    return next((role for role, p in _PATTERNS.items() if re.fullmatch(p, plain)), "")


__all__ = ["role_of"]
