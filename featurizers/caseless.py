"""One rule for letter case, everywhere: Unicode caseless matching of compatibility forms."""

import re
import unicodedata

WORD = re.compile(r"[^\W_]")
"""A letter or a digit: where one is, there are words."""


def caseless(text: str) -> str:
    """The form in which two words are the same if they differ in case or compatibility form only.

    It may differ from the text in length: compare with it, never count characters in it.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def in_word(character: str) -> bool:
    """Whether a character belongs to a word: letters, digits, and the marks that are set on them."""
    return character.isalnum() or unicodedata.category(character).startswith("M")
