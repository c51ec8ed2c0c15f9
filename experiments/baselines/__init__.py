"""The benchmark's nets in other libraries, each a script that needs nothing of ae_jax.

They may run in an environment of their own: ``experiments.bench --peer-python PATH``.
"""
