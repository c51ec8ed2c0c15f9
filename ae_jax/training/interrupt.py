"""SIGTERM, SIGHUP and Ctrl-C while a run is training: a request to save and end."""

import itertools
import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental.multihost_utils import reached_preemption_sync_point

log = logging.getLogger(__name__)


class Interrupt:
    """A context that notes the first signal. After it, a (second) Ctrl-C ends the process at once.

    If one of several processes is asked to end, all end after the same step: jax's own preemption
    service agrees on it. Handlers that a program has set itself are kept. So are all handlers where
    nothing `saves`, and in any thread but the main one, which alone may handle signals.
    """

    def __init__(self, *, saves: bool) -> None:
        self.saves = saves
        self.signal: int | None = None
        self.agreed = False
        self._handlers: dict[int, Any] = {}
        self._polls = itertools.count()

    def __enter__(self) -> "Interrupt":
        if self.saves and threading.current_thread() is threading.main_thread():
            handled: dict[int, Any] = {
                signal.SIGINT: signal.default_int_handler,
                signal.SIGHUP: signal.SIG_DFL,  # that of a closed terminal; nohup ignores it
            }
            if jax.process_count() == 1:  # of several processes, jax handles SIGTERM
                handled[signal.SIGTERM] = signal.SIG_DFL
            for number, default in handled.items():
                if signal.getsignal(number) == default:
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Whether to end now. Every process must ask equally often, after the same steps."""
        if jax.process_count() > 1:
            self.agreed |= reached_preemption_sync_point(next(self._polls))
        else:
            self.agreed = self.signal is not None
        return self.agreed

    def end(self, step: int, path: Path | None) -> None:
        """Log where it ended, and raise `KeyboardInterrupt`, or `SystemExit` of 128 + signal."""
        ended = signal.Signals(self.signal or signal.SIGTERM)
        name = "Ctrl-C" if ended == signal.SIGINT else ended.name
        saved = f", which is saved in {path}: continue it with resume=True" if path else ""
        log.warning("%s: the run ended at step %d%s", name, step, saved)
        if ended == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + ended)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            return
        self.signal = number
        if signal.SIGINT in self._handlers:
            # The system handles the next one, without waiting for Python.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if jax.process_count() > 1:  # let the others know
            os.kill(os.getpid(), signal.SIGTERM)
