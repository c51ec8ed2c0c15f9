"""The scaling table: that the bytes are the gradients', and the formula its limits."""

import pytest

from experiments.benchmarks import NETS
from experiments.scaling import (
    ACCELERATORS,
    Accelerator,
    _size,
    all_reduced_bytes,
    exchange_seconds,
    exchanged_bytes,
    main,
)


def test_a_step_exchanges_its_gradients_and_metrics():
    parameters, flops = _size("simple")
    metrics = 2  # the loss and the one term it has
    assert parameters == 784 * 32 + 32 + 32 * 784 + 784
    assert exchanged_bytes("simple") - 4 * parameters in (4, 4 * metrics)
    assert flops == pytest.approx(5 * 2 * NETS["simple"].batch * 784 * 32, rel=1e-2)


def test_bytes_are_read_from_the_program():
    program = """
      %a = f32[784,32]{1,0} all-reduce(%x), channel_id=1
      %b = (bf16[3]{0}, f32[]) all-reduce-start(%y, %z)
      %c = f32[5] add(%p, %q)
    """
    assert all_reduced_bytes(program) == 4 * 784 * 32 + 2 * 3 + 4


def test_exchange_in_its_limits():
    kind = Accelerator(peak=1e12, near=1e9, host=8, far=1e8)
    assert exchange_seconds(1e6, 1, kind, 1.0) == 0
    assert exchange_seconds(1e6, 2, kind, 0) == pytest.approx(1e-3)  # half there, half back
    assert exchange_seconds(0, 8, kind, 1e-6) == pytest.approx(6e-6)  # 3 hops, twice
    assert exchange_seconds(1e6, 1 << 20, kind, 0) == pytest.approx(2e-2, rel=1e-5)  # far, 2 G / W


def test_the_table(capsys):
    main(["simple", "--accelerator", "tpu-v5p"])
    out = capsys.readouterr().out
    assert "tpu-v5p" in out and "50,992" in out and "batch for 90%" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["simpel"], "net simpel: did you mean 'simple'"),
        (["--accelerator", "h10"], "did you mean 'h100'"),
        (["--measure", "0"], "must be at least 1"),
        (["--utilization", "2"], "is in"),
    ],
)
def test_mistakes(argv, message):
    with pytest.raises(ValueError, match=message):
        main(argv)


def test_accelerators_are_faster_near():
    assert all(kind.near >= kind.far > 0 for kind in ACCELERATORS.values())
