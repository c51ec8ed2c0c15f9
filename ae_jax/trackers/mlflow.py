"""MLflow: the server or file in MLFLOW_TRACKING_URI, by default ./mlflow.db."""

import os
import time
from collections.abc import Mapping
from typing import Any

from ae_jax.trackers.tracker import PROJECT, TrackedRun, needs_extra

TAG = "ae_jax.run"
MOST_PARAMS = 100  # the limit of MLflow per call


class MLflow:
    """A run of the experiment MLFLOW_EXPERIMENT_NAME, by default "ae_jax"."""

    name = "mlflow"

    def __init__(self) -> None:
        with needs_extra(self.name):
            from mlflow import entities, tracking
        self._entities, self._tracking = entities, tracking
        self._client: Any = None
        self._run = ""

    def start(self, run: TrackedRun) -> None:
        self._client = client = self._tracking.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if known is None else known.experiment_id
        earlier = client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'")
        if earlier:
            self._run = earlier[0].info.run_id
            client.update_run(self._run, status="RUNNING")
            return
        created = client.create_run(experiment, run_name=run.name, tags={TAG: run.id})
        self._run = created.info.run_id
        params = [self._entities.Param(key, str(value)) for key, value in run.config.items()]
        for first in range(0, len(params), MOST_PARAMS):
            client.log_batch(self._run, params=params[first : first + MOST_PARAMS])

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        time_ms, metric = int(1000 * time.time()), self._entities.Metric
        metrics = [metric(name, value, time_ms, step) for name, value in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, *, failed: bool) -> None:
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")
