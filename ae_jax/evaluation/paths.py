"""Paths through the code space: between two codes, and along one of its dimensions."""

import numpy as np

NEARLY = 1e-6


def straight(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Codes on the line from `a` to `b`, both [...] and both included: [steps, ...]."""
    return np.stack([(1 - t) * a + t * b for t in np.linspace(0, 1, steps)])


def spherical(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Codes on the great arc from `a` to `b`, both [...] and both included: [steps, ...].

    With t from 0 to 1 and the angle w between them: ``(sin((1 - t) w) a + sin(t w) b) / sin(w)``.
    Codes of a Gaussian prior in many dimensions are all about as long; so are those on the arc, and
    not those on the line. Between codes on one line through the origin it is the straight path.

    Source: Shoemake, Animating rotation with quaternion curves, 1985; White, Sampling generative
    networks, 2016.
    """
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = float((a * b).sum() / lengths) if lengths > 0 else 1.0
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.sin(angle) < NEARLY:
        return straight(a, b, steps)
    return np.stack(
        [
            (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
            for t in np.linspace(0, 1, steps)
        ]
    )


def traversal(z: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
    """The code `z` [K] with each of `values` [S] in one dimension: [S, K]."""
    codes = np.repeat(z[None], len(values), axis=0)
    codes[:, dimension] = values
    return codes
