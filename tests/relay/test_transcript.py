"""A stream's words are noted cheaply and forgotten where they were not sent."""

from __future__ import annotations

from sealgate.relay.transcript import FOLD, Transcript


def said(transcript: Transcript) -> str | None:
    [choice] = transcript.choices()
    text: str | None = choice["message"]["content"]
    return text


def test_pieces_are_put_together_in_order_however_many() -> None:
    transcript, wanted = Transcript(), ""
    for number in range(5 * FOLD + 3):
        transcript.mark()
        assert len(transcript.pieces) < FOLD, "a long stream is not kept in small pieces"
        if number % 7:
            transcript.pieces.append(f"{number} ")
        else:
            transcript.pieces.append((0, {"content": f"{number} ", "role": "assistant"}))
        wanted += f"{number} "
    assert said(transcript) == wanted
    assert said(transcript) == wanted, "asking changes nothing"


def test_what_was_not_sent_is_forgotten() -> None:
    transcript = Transcript()
    transcript.pieces.append("sent")
    mark = transcript.mark()
    transcript.pieces += ["not sent", (0, "stop")]
    transcript.forget(mark)
    assert transcript.choices() == [{"index": 0, "message": {"content": "sent", "role": "assistant"}}]


def test_nothing_said_is_no_choice() -> None:
    assert Transcript().choices() == []
