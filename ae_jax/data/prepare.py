"""Prepare TFDS sets as array_record: MNIST, Fashion-MNIST and CIFAR-10 without TensorFlow.

TFDS imports TensorFlow to unpack gzip and to encode PNG. Here ae_jax reads the published files and
passes Pillow images to the TFDS builder, which encodes them without TensorFlow. Shuffling, sharding
and metadata are those of TFDS, so the result equals the set that TFDS prepares: same name, version,
features, order and pixels.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data import array_record, catalog, cifar, idx, originals

Files = Mapping[str, Path]  # published file name -> where it is
Splits = Mapping[str, tuple[np.ndarray, np.ndarray]]  # split -> images [N, H, W, C], labels [N]

NETWORK_SECONDS = 10


def prepare(name: str, data_dir: Path, source: Path | None = None) -> Path:
    """Prepare a set under `data_dir`, unless it is already prepared.

    Args:
      name: a TFDS name. Sets other than MNIST, Fashion-MNIST and CIFAR-10 need TensorFlow.
      data_dir: the folder of sets; the set goes to `data_dir/name/version`.
      source: a folder of files that are already downloaded. By default they are downloaded to
        `data_dir/downloads`, with the checksums of TFDS.

    Returns:
      The folder of the set.

    Raises:
      FileNotFoundError: `source` lacks a file.
      ValueError: an unknown name, a file that is damaged or differs from the published one.
      ConnectionError: the network is closed.
      OSError: `data_dir` cannot be written.
    """
    if name == "digits":
        raise ValueError("digits needs no preparation: it is part of scikit-learn")
    catalog.require_known(name)
    if prepared := array_record.find(data_dir, name):
        return prepared
    if source is not None and not source.is_dir():
        raise FileNotFoundError(f"{source} is not a folder: give the folder of downloaded files")
    if name in READERS:
        files = _files_in(source) if source else _download(name, data_dir)
        write(name, READERS[name](files), data_dir)
    else:
        _prepare_with_tensorflow(name, data_dir, source)
    prepared = array_record.find(data_dir, name)
    if prepared is None:
        raise ValueError(f"{data_dir / name} is incomplete: delete it and prepare the set again")
    return prepared


def read_idx_set(name: str, files: Files) -> Splits:
    """Read the four idx files of MNIST or Fashion-MNIST, and check that they are the originals."""
    arrays = {}
    for part, expected in originals.IDX[name].items():
        path = files.get(f"{part}.gz") or files.get(part)
        if path is None:
            raise FileNotFoundError(f"{part}.gz is missing: {name} needs its four idx files")
        arrays[part] = idx.read_idx(path)
        if idx.digest(arrays[part]) != expected:
            raise ValueError(f"{path} is not the published {part} of {name}: download it again")
    return {
        split: (
            arrays[f"{prefix}-images-idx3-ubyte"][..., None],
            arrays[f"{prefix}-labels-idx1-ubyte"],
        )
        for split, prefix in idx.PREFIXES.items()
    }


def read_cifar10(files: Files) -> Splits:
    """Read the archive of the binary version of CIFAR-10."""
    if cifar.ARCHIVE not in files:
        raise FileNotFoundError(f"{cifar.ARCHIVE} is missing: cifar10 needs the binary version")
    return cifar.read_archive(files[cifar.ARCHIVE])


READERS: dict[str, Callable[[Files], Splits]] = {
    "mnist": functools.partial(read_idx_set, "mnist"),
    "fashion_mnist": functools.partial(read_idx_set, "fashion_mnist"),
    "cifar10": read_cifar10,
}


def write(name: str, splits: Splits, data_dir: Path) -> None:
    """Write arrays as the TFDS set `name`, with the features and order of TFDS's own builder.

    Args:
      name: a TFDS set of "image" and "label", and maybe "id" (numbered as in CIFAR-10).
      splits: uint8 images `[N, H, W, C]` and labels `[N]` of each split, in the published order.
      data_dir: the folder of sets.
    """
    import tensorflow_datasets as tfds
    from PIL import Image

    official: Any = tfds.builder_cls(name)

    class Builder(official, skip_registration=True):  # type: ignore[call-arg]  # TFDS is untyped
        name = official.name
        __module__ = official.__module__  # the metadata records it as the origin of the set

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
            for i, (image, label) in enumerate(zip(*splits[split], strict=True)):
                pixels = image[..., 0] if image.shape[-1] == 1 else image
                example = {"image": Image.fromarray(pixels), "label": int(label)}
                if "id" in self.info.features:
                    example["id"] = f"{split}_{i:05d}"
                yield i, example

    builder = Builder(data_dir=data_dir)
    if name == "cifar10":
        builder.info.features["label"].names = cifar.CLASSES  # TFDS reads them from the archive
    # TFDS creates a folder for downloads in any case, and prints two lines of advice.
    with tempfile.TemporaryDirectory() as unused, contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_dir=unused, file_format="array_record")


def _files_in(folder: Path) -> Files:
    return {path.name: path for path in folder.iterdir()}


def _download(name: str, data_dir: Path) -> Files:
    import tensorflow_datasets as tfds

    urls = {info.filename: url for url, info in tfds.builder_cls(name).url_infos.items()}
    _require_network(name, urls.values())
    with _one_line_errors(name):
        manager = tfds.download.DownloadManager(
            download_dir=data_dir / "downloads", dataset_name=name, force_checksums_validation=True
        )
        # One at a time: after a failure, other downloads would delay the exit.
        return {filename: manager.download(url) for filename, url in urls.items()}


def _prepare_with_tensorflow(name: str, data_dir: Path, source: Path | None) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"preparing {name} needs TensorFlow: run pip install 'ae_jax[tensorflow]' "
            f"(without it: {', '.join(READERS)})"
        )
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    if source is None:
        _require_network(name, builder.url_infos or ())
    with _one_line_errors(name):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=source),
            file_format="array_record",
        )


def _require_network(name: str, urls: Iterable[str]) -> None:
    """Request the first URL, to fail early on a closed network; TFDS would retry for minutes."""
    import requests

    for url in itertools.islice(urls, 1):
        try:
            requests.head(url, timeout=NETWORK_SECONDS, allow_redirects=True)
        except requests.RequestException as error:
            raise ConnectionError(
                f"cannot reach {url} ({type(error).__name__}): download the files of {name} "
                "elsewhere and give their folder with --from DIR"
            ) from error


@contextlib.contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Turn the errors of TFDS, which may have many lines, into errors of one line."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    try:
        yield
    except (NonMatchingChecksumError, tfds.download.DownloadError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"TFDS could not prepare {name}: {reason}") from error
