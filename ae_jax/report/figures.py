"""The figures of a run directory, embedded in a page with their descriptions."""

import base64
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from PIL import Image, UnidentifiedImageError

from ae_jax.files import require_regular
from ae_jax.report.markup import shorten, tag

LARGEST = 8 * 2**20
MOST = 60


class Picture(NamedTuple):
    name: str
    description: str
    data: bytes
    wide: bool


def read_pictures(folder: Path) -> tuple[list[Picture], list[str]]:
    """The PNG files of a folder in order of their names, and a line for each that is left out."""
    pictures, problems = [], []
    files = sorted(folder.glob("*.png"))
    for file in files[:MOST]:
        try:
            require_regular(file, limit=LARGEST)
            with Image.open(file, formats=["PNG"]) as image:
                described = image.info.get("Description")
                wide = image.width > 2 * image.height
            name = file.stem.replace("_", " ").replace("-", " ")
            description = described if isinstance(described, str) and described else name
            pictures.append(Picture(file.name, description, file.read_bytes(), wide))
        except UnidentifiedImageError:
            problems.append(f"{file.name} is left out: it is not a PNG file")
        except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append(f"{file.name} is left out: {shorten(str(error))}")
    if len(files) > MOST:
        problems.append(f"{len(files) - MOST} more pictures are left out")
    return pictures, problems


def figure(picture: Picture, run: str = "") -> Element:
    """A picture with its description as alternative text and below it, and the run it is of."""
    source = "data:image/png;base64," + base64.b64encode(picture.data).decode()
    image = tag("img", src=source, alt=shorten(picture.description))
    text = f"{run}: {picture.description}" if run else picture.description
    made = tag("figure", image, tag("figcaption", shorten(text)))
    if picture.wide:
        made.set("class", "wide")
    return made
