"""Paths through the latent space: between two latents, and along one dimension."""

import numpy as np

NEARLY = 1e-6


def straight(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Latents on the line from `a` [...] to `b` [...], both included: [steps, ...]."""
    return np.stack([(1 - t) * a + t * b for t in np.linspace(0, 1, steps)])


def spherical(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Latents on the great arc from `a` [...] to `b` [...], both included: [steps, ...].

    With t from 0 to 1 and the angle w between them: ``(sin((1 - t) w) a + sin(t w) b) / sin(w)``.
    Samples of a Gaussian prior in many dimensions have nearly the same norm. Latents on the arc
    have it too, and latents on the line do not. If `a` and `b` lie on one line through the origin,
    the result is the straight path.

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
    """Copies of the latent `z` [K] with each of `values` [S] in one dimension: [S, K]."""
    path = np.repeat(z[None], len(values), axis=0)
    path[:, dimension] = values
    return path
