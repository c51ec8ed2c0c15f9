"""Players: the sides of a game, each with a loss, parameters and an optimizer of its own."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

Optimizer = Callable[[optax.GradientTransformation], optax.GradientTransformation]
"""The optimizer of a model or a player, made from the one that the run was given."""


class Player(NamedTuple):
    """One side of a game, such as a discriminator: the parameters that its own loss trains.

    `params` are top-level names of the module's parameters. Terms name their player; those of the
    main player, "", train all other parameters. `optimizer` makes its optimizer from the run's;
    None takes the run's as it is.
    """

    params: tuple[str, ...]
    optimizer: Optimizer | None = None


def player_labels(players: Mapping[str, Player], params: Mapping[str, Any]) -> dict[str, str]:
    """The player of each top-level entry of `params`.

    Raises `ValueError` for a player that names parameters which the module does not have.
    """
    labels = dict.fromkeys(params, "")
    for name, player in players.items():
        for key in player.params:
            if key not in labels:
                raise ValueError(
                    f"the player {name!r} trains {key!r}, which is no parameter of the module: it "
                    f"has {', '.join(params)}"
                )
            if labels[key]:
                raise ValueError(f"{key!r} belongs to two players, {labels[key]!r} and {name!r}")
            labels[key] = name
        if not player.params:
            raise ValueError(f"the player {name!r} has no parameters: name some in players")
    return labels
