import pytest

from wordcount import count_words, table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", {}),
        ("one", {"one": 1}),
        ("Two two TWO", {"two": 3}),
        ("don't stop", {"don't": 1, "stop": 1}),
        ("naïve café, naïve", {"naïve": 2, "café": 1}),
        ("3 blind mice", {"blind": 1, "mice": 1}),
    ],
)
def test_words_are_counted(text, words):
    assert count_words(text) == words


def test_the_table_begins_with_the_most_frequent_word():
    lines = table("to be or not to be", rows=2).splitlines()
    assert lines[0].split() == ["word", "count"]
    assert {tuple(line.split()) for line in lines[2:]} == {("to", "2"), ("be", "2")}
