import gzip
import struct

import numpy as np
import pytest

from ae_jax.data import idx


@pytest.mark.parametrize("shape", [(3,), (0,), (2, 5), (4, 3, 2), (2, 3, 4, 3)])
@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_reads_what_the_format_says(tmp_path, idx_bytes, shape, pack):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / "any-name"
    path.write_bytes(pack(idx_bytes(array)))
    read = idx.read_idx(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)
    assert read.flags.writeable


def test_digest_is_that_of_the_file(tmp_path, idx_bytes):
    import hashlib

    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert idx.digest(array) == hashlib.sha256(idx_bytes(array)).hexdigest()


def header(*sizes, kind=8):
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with b''"),
        (b"\0\0", "starts with"),
        (b"PK\x03\x04" + bytes(20), "not with the idx magic number"),
        (header(2, 2, kind=0x0D) + bytes(16), "its type is 0xd"),
        (header() + bytes(16), "its rank 0"),
        (header(2, 2)[:7], "ends inside its header"),
        (header(2, 3) + bytes(5), "declares 6 bytes of data, it holds only 5"),
        (header(2, 3) + bytes(7), "declares 6 bytes of data, it holds more"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(9), "it holds only 9"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, pack, content, message):
    path = tmp_path / "broken-idx3-ubyte"
    path.write_bytes(pack(content))
    with pytest.raises(ValueError, match=message) as caught:
        idx.read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_gzip_file_is_noticed(tmp_path, idx_bytes):
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    whole = gzip.compress(idx_bytes(array))
    path = tmp_path / "t.gz"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is not a complete idx file"):
            idx.read_idx(path)


def test_a_flipped_byte_in_gzip_data_is_noticed(tmp_path, idx_bytes):
    array = np.random.default_rng(0).integers(0, 256, (3, 40), np.uint8)
    whole = bytearray(gzip.compress(idx_bytes(array)))
    path = tmp_path / "t.gz"
    for i in range(10, len(whole)):  # the ten bytes of the gzip header carry no data
        whole[i] ^= 0x55
        path.write_bytes(whole)
        with pytest.raises(ValueError, match="is not a complete idx file"):
            idx.read_idx(path)
        whole[i] ^= 0x55


def test_loads_both_splits_of_a_folder(idx_folder):
    folder, arrays = idx_folder
    assert idx.holds_idx(folder)
    for split, (images, labels) in arrays.items():
        data = idx.load_folder(folder, split)
        assert data["x"].dtype == np.uint8
        assert data["label"].dtype == np.int32
        np.testing.assert_array_equal(data["x"], images[..., None])
        np.testing.assert_array_equal(data["label"], labels)


def test_missing_files_and_folders(tmp_path, idx_folder):
    folder, _ = idx_folder
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        idx.load_folder(tmp_path / "nothing", "train")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="has no t10k-labels-idx1-ubyte"):
        idx.load_folder(folder, "test")
    with pytest.raises(ValueError, match="no split 'valid': choose from train, test"):
        idx.load_folder(folder, "valid")
    assert not idx.holds_idx(tmp_path)


def test_labels_and_images_must_match(idx_folder, idx_bytes):
    folder, _ = idx_folder
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with pytest.raises(ValueError, match="label has 4 entries but x has 3"):
        idx.load_folder(folder, "test")
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((4, 5), np.uint8)))
    with pytest.raises(ValueError, match=r"shape \[4, 5\], not \[N, H, W\]"):
        idx.load_folder(folder, "test")
