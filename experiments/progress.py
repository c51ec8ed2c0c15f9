"""A progress bar with epoch, loss, images/s and remaining time."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ae_jax.core import TrainState
from ae_jax.training.rows import Row


class ProgressBar:
    """A `fit` callback that draws a bar on a terminal, and elsewhere prints about ten lines.

    It is for a run with test data: a line at the end of an epoch waits for the test row.
    """

    def __init__(self, epochs: int, console: Console) -> None:
        self.epochs, self.console = epochs, console
        self.train, self.test, self.tested, self.speed = "", "", "", ""
        self.printed = 0
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.total:g}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}  {task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=epochs, epoch="0", loss="compiling", speed="")

    def __enter__(self) -> "ProgressBar":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, state: TrainState, row: Row) -> None:
        epoch, loss = f"{row['epoch']:.4g}", f"{row['split']} {row['loss']:.4f}"
        if row["split"] == "train":
            self.train, self.speed = loss, f"{row['images_per_second']:,.0f} images/s"
        else:
            self.test, self.tested = loss, epoch
        earlier = f" (epoch {self.tested})" if self.tested not in ("", epoch) else ""
        losses = f"{self.train}  {self.test}{earlier}".strip()
        self.bar.update(
            self.task, completed=row["epoch"], epoch=epoch, loss=losses, speed=self.speed
        )
        tenth, waits = int(10 * row["epoch"] / self.epochs), row["epoch"] % 1 == 0
        waits &= row["split"] == "train"
        if not self.console.is_terminal and tenth > self.printed and not waits:
            self.printed = tenth
            self.console.print(f"epoch {epoch}/{self.epochs}  {losses}  {self.speed}")
