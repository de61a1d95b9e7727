"""Counts the words of a text and shows the most frequent ones as a table."""

import re
from collections import Counter

from tabulate import tabulate


def count_words(text):
    """Return a Counter of the lower-cased words of `text`."""
    return Counter(re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower()))


def table(text, rows=10):
    """Return the `rows` most frequent words of `text` as a table, most frequent first."""
    return tabulate(count_words(text).most_common(rows), headers=["word", "count"])
