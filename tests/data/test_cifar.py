import hashlib
import io
import tarfile

import numpy as np
import pytest

from ae_jax.data import cifar, originals


def record(label, image):
    """A record by its definition: the label, then all red, all green, all blue values."""
    planes = b"".join(image[:, :, channel].tobytes() for channel in range(3))
    return bytes([label]) + planes


def test_decode():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = [3, 0, 9, 1]
    decoded, decoded_labels = cifar.decode(b"".join(map(record, labels, images)))
    np.testing.assert_array_equal(decoded, images)
    np.testing.assert_array_equal(decoded_labels, labels)
    assert decoded.flags.c_contiguous
    assert decoded_labels.dtype == np.int32


def archive(path, files):
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_reads_an_archive_in_its_published_order(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cifar, "BATCH", 2 * cifar.RECORD)
    files = {name: rng.bytes(cifar.BATCH) for name in reversed(originals.CIFAR10)}
    for name, content in files.items():
        monkeypatch.setitem(originals.CIFAR10, name, hashlib.sha256(content).hexdigest())
    archive(tmp_path / cifar.ARCHIVE, {**files, "readme.html": b"more"})
    splits = cifar.read_archive(tmp_path / cifar.ARCHIVE)
    train = b"".join(files[f"data_batch_{i}.bin"] for i in range(1, 6))
    for split, content in (("train", train), ("test", files["test_batch.bin"])):
        expected_images, expected_labels = cifar.decode(content)
        np.testing.assert_array_equal(splits[split][0], expected_images)
        np.testing.assert_array_equal(splits[split][1], expected_labels)


def test_bad_archives_are_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "BATCH", 2 * cifar.RECORD)
    path = tmp_path / cifar.ARCHIVE
    whole = {name: np.random.default_rng(0).bytes(cifar.BATCH) for name in originals.CIFAR10}
    archive(path, whole)
    truncated = path.read_bytes()[: path.stat().st_size // 2]
    archive(path, {"data_batch_1.bin": bytes(10)})
    short = path.read_bytes()
    archive(path, {})
    empty = path.read_bytes()
    archive(path, whole)
    for content, message in (
        (path.read_bytes(), "does not contain the published data_batch_1.bin"),
        (empty, "does not contain the published data_batch_1.bin"),
        (short, "declares 6146 bytes of data, it holds only 10"),
        (truncated, "is not a complete archive"),
        (b"", "is not a complete archive"),
        (b"not gzip at all", "is not a complete archive"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            cifar.read_archive(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_links_in_an_archive_are_not_followed(tmp_path):
    path = tmp_path / cifar.ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ValueError, match="does not contain the published data_batch_1"):
        cifar.read_archive(path)
