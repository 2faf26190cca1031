"""What outside says about an attempt is kept as plain text, whoever said it and however."""

import pytest

from services.mailer import replies
from services.mailer.outcomes import LONGEST_DETAIL, Deferred, Delivered, Gone, Held, InDoubt, Refused, Unwritten

ODD = b"accept\xe9\x00 \x1b[31m\r\n done".decode("utf-8", "surrogateescape")
PLAIN = "accept\ufffd\ufffd \ufffd[31m done"


@pytest.mark.parametrize(
    "outcome",
    [
        Delivered(ODD),
        Deferred("x", detail=ODD),
        Refused("x", detail=ODD),
        Held("x", detail=ODD),
        InDoubt("x", detail=ODD),
        Gone(ODD),
        Unwritten(ODD),
    ],
)
def test_every_outcome_holds_only_what_can_be_kept_and_printed(
    outcome: Delivered | Deferred | Refused | Held | InDoubt | Gone | Unwritten,
) -> None:
    assert outcome.detail == PLAIN


def test_letters_of_any_script_stay() -> None:
    assert Delivered("принято, 受け付け, accepté 📬").detail == "принято, 受け付け, accepté 📬"


def test_a_long_answer_is_cut_to_one_line() -> None:
    answer = replies.to_mail(550, "no\r\nno " * 500)
    assert isinstance(answer, Refused)
    assert len(answer.detail) == LONGEST_DETAIL
    assert "\n" not in answer.detail
