"""A progress bar with epoch, loss, images/s and remaining time."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ae_jax.core import TrainState
from ae_jax.training.rows import Row


class ProgressBar:
    """A `fit` callback that draws a bar on a terminal, and elsewhere prints about ten lines."""

    def __init__(self, epochs: int, console: Console) -> None:
        self.epochs, self.console = epochs, console
        self.losses: dict[str, float] = {}
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
        self.losses[row["split"]] = row["loss"]
        loss = "  ".join(f"{split} {value:.4f}" for split, value in self.losses.items())
        if row["split"] != "train":
            self.bar.update(self.task, loss=loss)
            return
        speed = f"{row['images_per_second']:,.0f} images/s"
        epoch = f"{row['epoch']:.4g}"
        self.bar.update(self.task, completed=row["epoch"], epoch=epoch, loss=loss, speed=speed)
        tenth = int(10 * row["epoch"] / self.epochs)
        if not self.console.is_terminal and tenth > self.printed:
            self.printed = tenth
            self.console.print(f"epoch {epoch}/{self.epochs}  {loss}  {speed}")
