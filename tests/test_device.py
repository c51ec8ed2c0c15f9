"""What a CPU is called, on systems that tell more and less."""

import platform
import subprocess
import sys

import pytest

from ae_jax import device

X86 = """processor	: 0
model name	: Some  Xeon @ 2.0GHz
flags		: fpu avx2 avx512f {more}

processor	: 1
model name	: another
"""
ARM = "processor	: 0\nBogoMIPS	: 50.00\nFeatures	: fp asimd\nCPU part	: 0xd40\n"


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (X86.format(more=""), "Some Xeon @ 2.0GHz (AVX-512)"),
        (X86.format(more="amx_tile"), "Some Xeon @ 2.0GHz (AMX)"),
        (X86.replace("avx2 avx512f {more}", "sse2"), "Some Xeon @ 2.0GHz"),
        (ARM, "it (NEON)"),
        (None, "it"),
    ],
)
def test_a_cpu_is_told_with_its_widest_units(told, name, tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    if told is not None:
        file.write_text(told)
    monkeypatch.setattr(device, "_CPUINFO", file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "it")
    assert device.cpu_name() == device.device_name() == name


def test_the_name_is_not_what_jax_calls_every_cpu():
    code = "from ae_jax.device import device_name; print(device_name())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() not in ("", "cpu"), found.stderr
