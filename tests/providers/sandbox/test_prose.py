"""What the sandbox says of itself and of the message."""

from __future__ import annotations

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.conversation import Conversation, read_messages
from sealgate.providers.sandbox.prose import HONEST, answer, fill_tokens, gist, reasoning, words_wanted


def talk(text: str) -> Conversation:
    return read_messages([{"role": "user", "content": text}])


def said(text: str, index: int = 0, n: int = 1) -> str:
    return answer(talk(text), Chance(1), index, n)


def test_every_answer_says_that_it_is_the_sandbox() -> None:
    """And repeats what was written."""
    assert said("Hello  there\nfriend").startswith(HONEST + ' You wrote: "Hello there friend" ')
    assert "You sent no text." in said("")


def test_several_answers_are_numbered() -> None:
    """So that each is another."""
    assert "Answer 2 of 3." in said("x", 1, 3)


def test_a_long_message_is_repeated_in_part() -> None:
    """Cut between words; a word without end is cut anyway."""
    assert gist("word " * 500) == "word " * 47 + "word …"
    assert gist("x" * 500) == "x" * 240 + "…"
    assert gist("short") == "short"
    assert gist(" ") == ""
    assert gist("a" + " " * 5000 + "b", 10).startswith("a")


def test_length_is_given_where_it_is_asked_for() -> None:
    """A number of words, sentences or paragraphs, or a word that means length; never without bound."""
    assert len(said("Write 300 words about boats").split()) >= 300
    assert len(said("Write 300 words about boats").split()) < 400
    assert said("give me 12 sentences").count(".") >= 12
    assert words_wanted("tell me a story") == 120
    assert words_wanted("a 999999-word essay") == 4000
    assert words_wanted("Hello") == 0
    assert words_wanted("the historical storyteller") == 0


def test_filling_reaches_exactly_the_tokens_wanted() -> None:
    """More than the text has, or fewer."""
    for wanted in (3, 100, 1001):
        made = fill_tokens("one two three four", Chance(0), wanted)
        assert len(made) == wanted
        assert made[:3] == ["one", " two", " three"]


def test_reasoning_is_longer_for_more_effort_and_honest() -> None:
    """It says that nothing is thought."""
    texts = [
        reasoning(talk("hi"), Chance(0), effort) for effort in ("minimal", "low", "medium", "high", "xhigh", "max")
    ]
    assert [len(text) for text in texts] == sorted({len(text) for text in texts})
    assert all("does not think" in text for text in texts)
    assert tokens.count(texts[0]) < 60
