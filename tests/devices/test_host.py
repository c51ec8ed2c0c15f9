"""Memory of the machine and of a process, against what is known about them."""

import sys

import psutil
import pytest

from ae_jax.devices import host


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(host, "_CGROUP", limit)
    total = psutil.virtual_memory().total
    assert host.memory_bytes() == total  # no such file
    for text, expected in (("12345\n", 12345), ("max\n", total), (f"{2 * total}\n", total)):
        limit.write_text(text)
        assert host.memory_bytes() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux restarts the count")
def test_the_peak_contains_what_was_freed_and_can_be_reset():
    before = host.resident_bytes()
    block = bytearray(b"1" * 50_000_000)
    held = host.resident_bytes()
    del block
    assert held - before > 45e6 and host.peak_bytes() >= held
    assert host.reset_peak() and host.peak_bytes() < held
