"""One HTML file about runs: curves, tables, figures and a latent explorer.

The file is made from run directories. It opens in a browser without a network or a server.
"""

from ae_jax.report.write import write_report

__all__ = ["write_report"]
