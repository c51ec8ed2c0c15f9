"""Nothing that comes from a file becomes markup."""

import json
from html.parser import HTMLParser

import pytest

from ae_jax.report.markup import data, page, table, tag

NASTY = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)",
    "<!-- <script>",
    "&lt;b&gt; ]]> \u2028",
]


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, name, attrs):
        self.tags.append(name)
        self.attributes += attrs

    def handle_data(self, text):
        self.texts.append(text)


def render(*body):
    return page("title", style="", scripts=[], body=body)


EMPTY = Reader(render()).tags


@pytest.mark.parametrize("text", NASTY)
def test_texts_and_attributes_stay_what_they_are(text):
    read = Reader(render(tag("p", text, tag("b", text), text, title=text)))
    assert read.tags == [*EMPTY, "p", "b"]
    assert "".join(read.texts).count(text) == 3
    assert ("title", text) in read.attributes


@pytest.mark.parametrize("text", NASTY)
def test_data_is_read_as_it_was_and_ends_where_it_ends(text):
    read = Reader(render(data("numbers", {text: [text, float("nan")]})))
    assert read.tags == [*EMPTY, "script"]
    (found,) = [t for t in read.texts if t.startswith("{")]
    assert json.loads(found) == {text: [text, None]}


@pytest.mark.parametrize("text", ["\ud800", "\x00\x1b[31m"])
def test_what_utf8_or_html_cannot_hold_is_replaced(text):
    page = render(tag("p", f"a{text}b"))
    page.encode()
    assert not set("\x00\x1b") & set(page)
    (found,) = [t for t in Reader(page).texts if t.startswith("a")]
    assert found.endswith("b")


def test_only_the_scripts_that_were_given_may_run_and_nothing_is_fetched():
    read = Reader(page("t", style="p {}", scripts=["let a = '</p>';", "a = 2"], body=[]))
    (policy,) = [value for _, value in read.attributes if value.startswith("default-src")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy.partition("script-src")[2]
    with pytest.raises(ValueError, match="its own end"):
        page("t", style="", scripts=["'</SCRIPT>'"], body=[])


def test_tables_name_rows_and_columns_for_readers_who_listen():
    read = Reader(render(table(["a", "b"], [("x", "1"), ("y", "2" * 30)], marked=[1])))
    assert read.attributes.count(("scope", "col")) == read.attributes.count(("scope", "row")) == 2
    assert ("class", "differs") in read.attributes
    assert ("class", "text") in read.attributes
