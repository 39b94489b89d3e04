"""The reader of outputs, where it does not come to their end."""

import pytest

from streams.trials.outputs import Unread


@pytest.mark.parametrize(
    ("unread", "says", "not_said"),
    [
        (
            Unread("out", 1, reached=5, readable=5, end=9),
            "4 stand behind a transaction that is open from 5 on",
            "were not",
        ),
        (Unread("out", 1, reached=5, readable=9, end=9), "4 may be read and were not", "transaction"),
        (Unread("out", 1, reached=5, readable=7, end=9), "2 may be read and were not, 2 stand behind", "nothing"),
    ],
)
def test_what_is_unread_says_whether_a_transaction_or_the_reader_holds_it(
    unread: Unread, says: str, not_said: str
) -> None:
    """With the place, for whoever looks further."""
    text = str(unread)
    assert "out, partition 1: read up to 5 of 9 offsets" in text
    assert says in text
    assert not_said not in text
