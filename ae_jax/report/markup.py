"""HTML that is safe against injection: all text is escaped when it becomes part of an element.

The content of a run directory (settings, names of metrics, descriptions of figures) may come from
anyone. It enters a page only as the text or an attribute of an `Element`, or as JSON in `data`.
"""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ae_jax.files import finite

Child = Element | str
LONGEST = 600
"""Characters of one piece of text; the rest is cut."""


def tag(name: str, /, *children: Child, **attributes: str) -> Element:
    """An element; underscores in names of attributes become hyphens, one at the end is dropped."""
    names = {key.rstrip("_").replace("_", "-"): clean(text) for key, text in attributes.items()}
    element = Element(name, names)
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + clean(child)
        else:
            element.text = (element.text or "") + clean(child)
    return element


def clean(text: str) -> str:
    """`text` without control characters and without what UTF-8 cannot encode."""
    text = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", text)


def shorten(text: str) -> str:
    """`text`, cut to `LONGEST` characters."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"


def table(
    head: Sequence[str], rows: Iterable[Sequence[Child]], *, marked: Iterable[int] = ()
) -> Element:
    """A table; its first column names the rows. It scrolls on its own if it is too wide."""
    marked = set(marked)
    body = tag("tbody")
    for number, (name, *cells) in enumerate(rows):
        row = tag("tr", tag("th", name, scope="row"), *map(_cell, cells))
        if number in marked:
            row.set("class", "differs")
        body.append(row)
    top = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head)))
    return tag("div", tag("table", top, body), class_="scroll")


def _cell(content: Child) -> Element:
    long = isinstance(content, str) and len(content) > 24
    return tag("td", content, class_="text") if long else tag("td", content)


def data(identifier: str, value: Any) -> Element:
    """`value` as JSON for scripts: ``JSON.parse(document.getElementById(identifier).textContent)``.

    No text in it can end the element, or begin a comment or another script.
    """
    text = json.dumps(finite(value)).replace("<", "\\u003c")
    return _raw("script", text, type="application/json", id=identifier)


def page(title: str, *, style: str, scripts: Sequence[str], body: Sequence[Element]) -> str:
    """An HTML document; its policy allows only these scripts and no network access."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        _raw("style", style),
    )
    foot = [_raw("script", script) for script in scripts]
    document = tag("html", head, tag("body", *body, *foot), lang="en")
    return "<!doctype html>\n" + ET.tostring(document, encoding="unicode", method="html") + "\n"


def _raw(name: str, text: str, /, **attributes: str) -> Element:
    """A script or a style sheet: HTML does not escape their text."""
    if f"</{name}" in text.lower() or "<!--" in text:
        raise ValueError(f"a {name} in a page must not contain its own end")
    element = tag(name, **attributes)
    element.text = text
    return element


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
