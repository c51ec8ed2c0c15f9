"""Specifications to JSON and back, and what is refused on the way."""

import pytest

from ae_jax.models import Model, Vanilla, Variational
from ae_jax.networks import MLP
from ae_jax.spec import from_dict


def test_missing_fields_take_defaults():
    assert from_dict(Model, {"kind": "vanilla"}) == Vanilla()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "os.system"}, r"kind='os.system'.*known: ae, conditional, contractive, "),
        ({"kind": "variationel"}, "did you mean 'variational'"),
        ({}, "kind=None"),
        (3, "kind=None"),
        ({"kind": ["vanilla"]}, "kind="),
        ({"kind": "vanilla", "latent_dmi": 3}, "no field 'latent_dmi': did you mean 'latent_dim'"),
        ({"kind": "vanilla", "latent_dim": "3"}, "model.latent_dim='3': must be of type int"),
        ({"kind": "vanilla", "latent_dim": True}, "must be of type int"),
        ({"kind": "vanilla", "latent_dim": 0}, "latent_dim=0: must be at least 1"),
        ({"kind": "vanilla", "loss": "bcee"}, "loss='bcee': did you mean 'bce'"),
        ({"kind": "vanilla", "network": {"kind": "mlp", "widths": 3}}, "widths=3: must be"),
        (
            {"kind": "vanilla", "network": {"kind": "mlp", "widths": [0]}},
            "each width must be at least 1",
        ),
        ({"kind": "vanilla", "network": {"kind": "mlp", "widths": [1.5]}}, r"widths\[0\]=1.5"),
        ({"kind": "variational", "beta": float("nan")}, "beta=nan"),
        ({"kind": "vanilla", "latent_dim": None}, "MLP needs a number; a ConvNet"),
    ],
)
def test_bad_data_is_one_line(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_dict(Model, data, where="model")
    assert "\n" not in str(caught.value)


def test_choices_are_checked_when_made_in_code():
    with pytest.raises(ValueError, match="activation='rellu': did you mean 'relu'"):
        MLP(activation="rellu")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_floats_are_finite(value):
    with pytest.raises(ValueError, match="beta=.*must be finite"):
        Variational(beta=value)
