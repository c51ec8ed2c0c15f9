"""The figures of a run directory, embedded in a page with their descriptions."""

import base64
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from PIL import Image, UnidentifiedImageError

from ae_jax.files import require_regular
from ae_jax.report.markup import shorten, tag

LARGEST = 8 * 2**20
"""Bytes of one file."""
MOST = 60
"""Files of one run."""


class Figure(NamedTuple):
    """A PNG file; `wide` if it is more than twice as wide as it is high."""

    name: str
    description: str
    data: bytes
    wide: bool


def read_figures(folder: Path) -> tuple[list[Figure], list[str]]:
    """The PNG files of a folder, ordered by name, and a line for each file that is skipped."""
    figures, problems = [], []
    files = sorted(folder.glob("*.png"))
    for file in files[:MOST]:
        try:
            require_regular(file, limit=LARGEST)
            with Image.open(file, formats=["PNG"]) as image:
                described = image.info.get("Description")
                wide = image.width > 2 * image.height
            name = file.stem.replace("_", " ").replace("-", " ")
            description = described if isinstance(described, str) and described else name
            figures.append(Figure(file.name, description, file.read_bytes(), wide))
        except UnidentifiedImageError:
            problems.append(f"{file.name} is skipped: it is not a PNG file")
        except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append(f"{file.name} is skipped: {shorten(str(error))}")
    if len(files) > MOST:
        problems.append(f"{len(files) - MOST} more figures are skipped")
    return figures, problems


def figure_element(figure: Figure, run: str = "") -> Element:
    """A figure with the name of its run and its description, as caption and alternative text."""
    source = "data:image/png;base64," + base64.b64encode(figure.data).decode()
    image = tag("img", src=source, alt=shorten(figure.description))
    text = f"{run}: {figure.description}" if run else figure.description
    element = tag("figure", image, tag("figcaption", shorten(text)))
    if figure.wide:
        element.set("class", "wide")
    return element
