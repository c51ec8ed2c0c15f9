import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ae_jax.data import array_record, cache, prepare


@pytest.fixture
def folder(prepared, tmp_path):
    """A private copy of the tiny set's version folder."""
    copy = tmp_path / "mnist" / "3.0.1"
    shutil.copytree(prepared[0] / "mnist" / "3.0.1", copy)
    return copy


def test_finds_the_newest_version(tmp_path):
    assert array_record.find(tmp_path, "a") is None
    for version in ("1.0.0", "9.2.0", "10.1.0", "11.0.0.incomplete"):
        path = tmp_path / "a" / version
        path.mkdir(parents=True)
        (path / "dataset_info.json").write_text("{}")
    (tmp_path / "a" / "12.0.0").mkdir()  # not prepared to the end
    assert array_record.find(tmp_path, "a") == tmp_path / "a" / "10.1.0"


def test_asks_for_the_configuration(tmp_path):
    for configuration in ("letters", "digits"):
        path = tmp_path / "emnist" / configuration / "3.1.0"
        path.mkdir(parents=True)
        (path / "dataset_info.json").write_text("{}")
    assert array_record.find(tmp_path, "emnist/letters") == tmp_path / "emnist/letters/3.1.0"
    with pytest.raises(ValueError, match="choose from emnist/digits, emnist/letters"):
        array_record.find(tmp_path, "emnist")


def test_loads_both_splits(prepared, rows):
    root, splits = prepared
    for split, (images, labels) in splits.items():
        data = array_record.load_prepared(root / "mnist" / "3.0.1", split)
        assert data["x"].dtype == np.uint8
        assert data["label"].dtype == np.int32
        assert data["x"].shape == images.shape
        assert rows(data["x"], data["label"]) == rows(images, labels)


def test_chunks_join_without_a_seam(prepared, monkeypatch):
    folder = prepared[0] / "mnist" / "3.0.1"
    whole = array_record.load_prepared(folder, "train")
    shutil.rmtree(cache.cache_dir())
    monkeypatch.setattr(array_record, "CHUNK", 7)
    np.testing.assert_array_equal(array_record.load_prepared(folder, "train")["x"], whole["x"])


def test_color_images_with_an_id(tmp_path, rows):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 32, 32, 3), np.uint8), np.arange(6)
    prepare.write("cifar10", {"train": (images, labels), "test": (images, labels)}, tmp_path)
    data = array_record.load_prepared(tmp_path / "cifar10" / "3.0.2", "test")
    assert sorted(data) == ["label", "x"]
    assert rows(data["x"], data["label"]) == rows(images, labels)


def test_second_load_reads_the_cache_and_leaves_the_set_alone(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    first = array_record.load_prepared(folder, "test")
    monkeypatch.setattr(array_record, "Records", None)  # the cache is all there is
    second = array_record.load_prepared(folder, "test")
    for key in ("x", "label"):
        np.testing.assert_array_equal(first[key], second[key])
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_cache_notices_another_set(folder, tmp_path):
    old = array_record.load_prepared(folder, "test")
    shutil.rmtree(folder)
    new = np.zeros((11, 28, 28, 1), np.uint8)
    prepare.write("mnist", {split: (new, np.zeros(11)) for split in ("train", "test")}, tmp_path)
    assert old["x"].any()
    assert not array_record.load_prepared(folder, "test")["x"].any()


def test_cache_does_not_hide_a_damaged_set(folder):
    array_record.load_prepared(folder, "test")
    content = bytearray(shard(folder).read_bytes())
    content[200] ^= 0xFF
    shard(folder).write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        array_record.load_prepared(folder, "test")


def test_damaged_cache_is_made_again(folder):
    first = np.array(array_record.load_prepared(folder, "test")["x"])
    (entry,) = cache.cache_dir().iterdir()
    (entry / "x.npy").write_bytes((entry / "x.npy").read_bytes()[:-50])
    np.testing.assert_array_equal(array_record.load_prepared(folder, "test")["x"], first)
    assert cache.fetch(entry.name) is not None


def test_loading_prints_nothing(folder):
    code = f"from ae_jax.data import load; load('mnist', 'test', {str(folder.parents[1])!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def write_images(folder, images, encode, **feature):
    """A TFDS set "wide" of these images; `encode` makes the bytes that TensorFlow would make."""
    import tensorflow_datasets as tfds

    image = tfds.features.Image(shape=images.shape[1:], encoding_format="png", **feature)
    image._image_encoder.encode_image_or_path = encode

    class Wide(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"image": image})
            )

        def _split_generators(self, dl_manager):
            return {"train": ((i, {"image": each}) for i, each in enumerate(images))}

        def _generate_examples(self):
            raise NotImplementedError

    Wide(data_dir=folder).download_and_prepare(file_format="array_record")
    return array_record.find(folder, "wide")


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 2**16, (6, 8, 9, 1), np.uint16)
FLOATS = RNG.normal(size=(6, 8, 9, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("images", "encode", "expected"),
    [
        (WIDE, lambda image: png(image[..., 0]), WIDE / 65535),
        (FLOATS, lambda image: png(image.view(np.uint8)), FLOATS),  # as TFDS keeps floats
    ],
    ids=["uint16", "float32"],
)
def test_images_of_more_than_8_bits(tmp_path, images, encode, expected):
    folder = write_images(tmp_path, images, encode, dtype=images.dtype.type)
    x = array_record.load_prepared(folder, "train")["x"]
    assert x.dtype == np.float32
    assert sorted(image.tobytes() for image in x) == sorted(
        image.astype(np.float32).tobytes() for image in expected
    )
    with pytest.raises(ValueError, match="more than 8 bits, .*: use decode='once'"):
        array_record.load_prepared(folder, "train", decode="always")


def test_color_images_of_16_bits_say_what_can_be_done(tmp_path):
    images = np.zeros((2, 8, 9, 3), np.uint16)
    folder = write_images(tmp_path, images, lambda image: png(np.uint8(image)), dtype=np.uint16)
    with pytest.raises(ValueError, match="color images of 16 bits, .* save them as floats in an"):
        array_record.load_prepared(folder, "train")


def shard(folder, split="test"):
    (path,) = folder.glob(f"mnist-{split}.array_record-*")
    return path


@pytest.mark.parametrize("damage", ["half", "empty", "flipped", "garbage"])
def test_damaged_shard_is_named_in_one_line(folder, damage):
    path = shard(folder)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[200] ^= 0xFF  # within the records; the rest of a tiny file is padding
    else:
        n = len(content)
        content = {"half": content[: n // 2], "empty": b"", "garbage": b"\x5a" * n}[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged") as caught:
        array_record.load_prepared(folder, "test")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shard_of_another_length(folder):
    shutil.copy(shard(folder, "test"), shard(folder, "train"))
    with pytest.raises(ValueError, match="damaged"):
        array_record.load_prepared(folder, "train")


def test_missing_shard(folder):
    shard(folder).unlink()
    with pytest.raises(FileNotFoundError, match="holds 0 of the 1 files of split 'test'"):
        array_record.load_prepared(folder, "test")


def test_unknown_split(folder):
    with pytest.raises(ValueError, match="no split 'val': choose from train, test"):
        array_record.load_prepared(folder, "val")


def test_other_format(folder):
    path = folder / "dataset_info.json"
    for change in ({"fileFormat": "parquet"}, {"fileFormat": "tfrecord"}):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ValueError, match=f"is stored as {change['fileFormat']}"):
            array_record.load_prepared(folder, "test")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": "mnist"}',
        b'{"name":"../x","version":"1.0.0","splits":[]}',
        b"\xff",
    ],
)
def test_damaged_metadata(folder, content):
    (folder / "dataset_info.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"dataset_info.json is damaged") as caught:
        array_record.load_prepared(folder, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"featuresDict": {"features": 3}}'])
def test_damaged_features(folder, content):
    (folder / "features.json").write_text(content)
    with pytest.raises(ValueError, match=r"features\.json is damaged") as caught:
        array_record.load_prepared(folder, "test")
    assert "\n" not in str(caught.value)


def test_real_mnist(real_data):
    data = array_record.load_prepared(array_record.find(real_data, "mnist"), "test")
    assert data["x"].shape == (10000, 28, 28, 1)
    # The class counts of the published test set (LeCun et al.).
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(data["label"]), counts)
