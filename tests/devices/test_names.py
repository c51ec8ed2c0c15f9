"""What a CPU is called, on systems that tell more and less."""

import platform
from pathlib import Path

import pytest

from ae_jax.devices import names as device

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
        (X86.format(more="avx512_bf16"), "Some Xeon @ 2.0GHz (AVX-512 with bfloat16)"),
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


def test_the_system_may_know_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: "a processor")
    assert device.cpu_name() == "a processor" and device.cpu_flags() == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="others tell Linux no name")
@pytest.mark.skipif(platform.system() != "Linux", reason="about Linux")
def test_this_machine_has_a_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    assert device.cpu_name().startswith(" ".join(name.split()))
