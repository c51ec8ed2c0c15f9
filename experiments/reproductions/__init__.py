"""The rows of `experiments.reproduce`: published settings and results, and how to run them."""

from experiments.reproductions import (
    bounds,
    conditional,
    few_labels,
    geron,
    hierarchical,
    hinton,
    keras_blog,
    one_class,
    sizes,
    spaces,
    static_mnist,
    variational,
)
from experiments.reproductions.setup import Row

ROWS: dict[str, Row] = {
    **keras_blog.ROWS,
    **variational.ROWS,
    **bounds.ROWS,
    **static_mnist.ROWS,
    **spaces.ROWS,
    **hierarchical.ROWS,
    **conditional.ROWS,
    **hinton.ROWS,
    **geron.ROWS,
    **sizes.ROWS,
    **few_labels.ROWS,
    **one_class.ROWS,
}
