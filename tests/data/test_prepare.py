import functools
import gzip
import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from ae_jax.data import array_record, catalog, idx, originals, prepare

FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's dataset-fashion-mnist
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture
def published(idx_folder, monkeypatch):
    """The tiny idx folder, as if its contents were those published as MNIST."""
    folder, arrays = idx_folder
    for split, prefix in idx.PREFIXES.items():
        for part, array in zip(("images-idx3", "labels-idx1"), arrays[split], strict=True):
            digest = idx.digest(array)
            monkeypatch.setitem(originals.IDX["mnist"], f"{prefix}-{part}-ubyte", digest)
    return folder, arrays


def files_of(folder):
    return {path.name: path for path in folder.iterdir()}


def test_reads_published_files(published):
    folder, arrays = published
    splits = prepare.read_idx_set("mnist", files_of(folder))
    for split, (images, labels) in arrays.items():
        np.testing.assert_array_equal(splits[split][0], images[..., None])
        np.testing.assert_array_equal(splits[split][1], labels)


def test_refuses_other_files(idx_folder):
    files = files_of(idx_folder[0])
    with pytest.raises(ValueError, match="is not the published train-images-idx3-ubyte of mnist"):
        prepare.read_idx_set("mnist", files)
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz is missing"):
        prepare.read_idx_set("mnist", {})
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary\.tar\.gz is missing"):
        prepare.read_cifar10({})


@pytest.mark.parametrize(
    ("name", "shape", "keys"),
    [
        ("mnist", (28, 28, 1), ["image", "label"]),
        ("fashion_mnist", (28, 28, 1), ["image", "label"]),
        ("cifar10", (32, 32, 3), ["id", "image", "label"]),
    ],
)
def test_written_set_is_read_by_tfds(tmp_path, rows, name, shape, keys):
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    splits = {
        split: (rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n))
        for split, n in (("train", 25), ("test", 8))
    }
    prepare.write(name, splits, tmp_path)
    for split, (images, labels) in splits.items():
        source = tfds.data_source(name, split=split, data_dir=tmp_path, download=False)
        examples = source.__getitems__(range(len(source)))
        assert sorted(examples[0]) == keys
        found = [example["image"] for example in examples], [e["label"] for e in examples]
        assert rows(*found) == rows(images, labels)
        if "id" in keys:
            order = [int(example["id"].decode().removeprefix(f"{split}_")) for example in examples]
            np.testing.assert_array_equal(found[0], images[order])
    assert [path.name for path in tmp_path.iterdir()] == [name]  # no folder for downloads


def test_class_names_are_kept(tmp_path):
    import tensorflow_datasets as tfds

    for name, shape, first in (("fashion_mnist", 28, "T-shirt/top"), ("cifar10", 32, "airplane")):
        images = np.zeros((1, shape, shape, 1 if shape == 28 else 3), np.uint8)
        prepare.write(name, {"train": (images, [0]), "test": (images, [0])}, tmp_path)
        builder = tfds.builder_from_directory(array_record.find(tmp_path, name))
        assert builder.info.features["label"].int2str(0) == first


@pytest.mark.slow
def test_order_and_pixels_are_those_of_the_official_set(real_data, tmp_path):
    """TFDS orders examples by a hash of their published position, so undoing and redoing the
    order of the real test split leaves it as it was, and in between it is the published file."""
    from tensorflow_datasets.core.hashing import Hasher

    official = array_record.load_prepared(array_record.find(real_data, "mnist"), "test")
    n = len(official["x"])
    order = sorted(range(n), key=lambda i: Hasher("test").hash_key(i))
    images, labels = np.empty_like(official["x"]), np.empty(n, np.uint8)
    images[order], labels[order] = official["x"], official["label"]
    digests = originals.IDX["mnist"]
    assert idx.digest(images[..., 0]) == digests["t10k-images-idx3-ubyte"]
    assert idx.digest(labels) == digests["t10k-labels-idx1-ubyte"]

    prepare.write("mnist", {"train": (images[:9], labels[:9]), "test": (images, labels)}, tmp_path)
    written = array_record.load_prepared(array_record.find(tmp_path, "mnist"), "test")
    for key in ("x", "label"):
        np.testing.assert_array_equal(written[key], official[key])


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"no Fashion-MNIST in {FASHION}")
def test_debian_holds_the_published_fashion_mnist():
    splits = prepare.read_idx_set("fashion_mnist", files_of(FASHION))
    assert splits["train"][0].shape == (60000, 28, 28, 1)
    assert splits["test"][0].shape == (10000, 28, 28, 1)


def test_prepare_from_a_folder(published, tmp_path, rows, monkeypatch):
    folder, arrays = published
    big = {s: np.zeros((len(a[0]), 28, 28, 1), np.uint8) for s, a in arrays.items()}
    real_read = prepare.read_idx_set

    def padded(name, files):  # TFDS's MNIST has 28x28 pixels
        splits = real_read(name, files)
        for split, (images, _) in splits.items():
            big[split][:, :5, :4] = images
        return {split: (big[split], labels) for split, (_, labels) in splits.items()}

    monkeypatch.setitem(prepare.READERS, "mnist", functools.partial(padded, "mnist"))
    root = tmp_path / "root"
    where = prepare.prepare("mnist", root, folder)
    assert where == root / "mnist" / "3.0.1"
    for split, (_, labels) in arrays.items():
        data = array_record.load_prepared(where, split)
        assert rows(data["x"], data["label"]) == rows(big[split], labels)
    # A set that is there is left alone, whatever the source.
    before = (where / "dataset_info.json").stat().st_mtime_ns
    assert prepare.prepare("mnist", root, tmp_path / "nothing") == where
    assert (where / "dataset_info.json").stat().st_mtime_ns == before


def test_prepare_refuses_in_one_line(tmp_path, idx_folder):
    folder, _ = idx_folder
    root = tmp_path / "root"
    for name, source, error, message in (
        ("digits", None, ValueError, "digits needs no preparation"),
        ("mnits", None, ValueError, "did you mean 'mnist'"),
        ("mnist", tmp_path / "nothing", FileNotFoundError, "is not a folder"),
        ("mnist", tmp_path, FileNotFoundError, "is missing"),
        ("mnist", folder, ValueError, "is not the published"),
    ):
        with pytest.raises(error, match=message) as caught:
            prepare.prepare(name, root, source)
        assert "\n" not in str(caught.value)
    assert not root.exists()


def test_half_made_folder_is_in_the_way(published, tmp_path, monkeypatch):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(ValueError, match="incomplete: delete it"):
        prepare.prepare("mnist", tmp_path, published[0])


def test_other_sets_need_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"run pip install 'ae_jax\[tensorflow\]'"):
        prepare.prepare("svhn_cropped", tmp_path)


def test_closed_network_is_one_line(tmp_path, monkeypatch):
    for variable in PROXIES:
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # the discard port: nothing listens
    with pytest.raises(
        ConnectionError, match=r"cannot reach https://.* give their folder"
    ) as caught:
        prepare.prepare("mnist", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("mnist*"))


@pytest.fixture
def proxy(monkeypatch):
    """A server on this machine that answers every request with the same small file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = gzip.compress(b"another file")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for variable in PROXIES:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    yield
    server.shutdown()
    server.server_close()


def test_download_with_a_wrong_checksum_is_refused(proxy, tmp_path):
    with pytest.raises(
        ValueError, match=r"TFDS could not prepare fashion_mnist: .*checksum"
    ) as caught:
        prepare.prepare("fashion_mnist", tmp_path)
    assert "\n" not in str(caught.value)
    assert array_record.find(tmp_path, "fashion_mnist") is None


def test_metadata_names_the_official_builder(prepared):
    root, _ = prepared
    info = json.loads((root / "mnist" / "3.0.1" / "dataset_info.json").read_text())
    assert info["moduleName"] == "tensorflow_datasets.image_classification.mnist"
    assert info["fileFormat"] == "array_record"
    catalog.require_known(info["name"])
