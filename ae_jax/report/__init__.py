"""One HTML file to look at runs: curves, tables, figures and a latent explorer.

It reads run directories, and needs nothing when it is opened: no network, no server.
"""

from ae_jax.report.write import write_report

__all__ = ["write_report"]
