"""Connect several processes that train one model together."""

import socket
import time
from dataclasses import dataclass

import jax

from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The options of a run over several processes, all started with the same command.

    By default a run is one process.
    """

    distributed: bool = False
    """Join the processes that SLURM, Open MPI, Kubernetes or a TPU pod has started."""
    coordinator: str | None = None
    """HOST:PORT of process 0, reachable from all processes; needs --num-processes, --process-id."""
    num_processes: int | None = None
    """Number of processes."""
    process_id: int | None = None
    """0 .. num_processes - 1. Only process 0 writes the run directory."""
    timeout: int = 60
    """Seconds to wait for the other processes, and until a dead one is noticed."""

    @property
    def several(self) -> bool:
        """Whether the run has several processes."""
        return self.distributed or self.coordinator is not None

    def check(self) -> None:
        """Raise `ValueError` if an option is invalid, missing, or contradicts another one."""
        require(self.timeout >= 1, "--timeout", self.timeout, "must be at least 1 second")
        if self.coordinator is None:
            if (self.num_processes, self.process_id) != (None, None):
                raise ValueError("--num-processes, --process-id: need --coordinator HOST:PORT too")
            return
        if self.distributed:
            raise ValueError("--distributed finds the coordinator itself: remove --coordinator")
        if self.num_processes is None or self.process_id is None:
            raise ValueError("--coordinator: needs --num-processes and --process-id too")
        require(self.num_processes >= 1, "--num-processes", self.num_processes, "must be positive")
        ok = 0 <= self.process_id < self.num_processes
        require(ok, "--process-id", self.process_id, f"must be in 0 .. {self.num_processes - 1}")
        host, _, port = self.coordinator.rpartition(":")
        ok = bool(host) and port.isdigit()
        require(ok, "--coordinator", self.coordinator, "must be HOST:PORT")

    def join(self) -> None:
        """Connect to the other processes. Call it before jax initializes its backends.

        Raises `ValueError` if the options are invalid, or process 0 does not answer in time.
        """
        self.check()
        if not self.several:
            return
        if self.process_id:
            self._wait_for_coordinator()
        try:
            jax.distributed.initialize(
                self.coordinator,
                self.num_processes,
                self.process_id,
                initialization_timeout=self.timeout,
                heartbeat_timeout_seconds=self.timeout,
                shutdown_timeout_seconds=3600,  # process 0 draws figures after the others are done
            )
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"cannot join the other processes: {reason}") from None

    @staticmethod
    def joined() -> bool:
        """Return whether this process has joined others."""
        return jax.distributed.is_initialized()

    def _wait_for_coordinator(self) -> None:
        # Waiting here gives a short error; jax would end the process with a long log.
        assert self.coordinator is not None
        host, _, port = self.coordinator.rpartition(":")
        until = time.monotonic() + self.timeout
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            except OSError as error:
                if time.monotonic() > until:
                    raise ValueError(
                        f"--coordinator {self.coordinator}: no answer in {self.timeout} s "
                        f"({error}); is process 0 running there?"
                    ) from None
            time.sleep(0.2)
