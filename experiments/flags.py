"""The library names Python arguments in its messages; the command line shows its own options."""

import logging
import re

_FLAGS = {  # Python arguments in the library's messages -> options of the command line
    **{
        name: f"--train.{name.replace('_', '-')}"
        for name in (
            "accumulate",
            "batch_size",
            "checkpoint_every",
            "ema_decay",
            "epochs",
            "learning_rate",
            "log_every",
            "max_skips",
            "stream",
        )
    },
    "allow_changes": "--allow-changes",
    "data_dir": "--data-dir",
    "data_name": "--data-name",
    "decode": "--data.decode",
    "devices": "--devices",
    "few_labels": "--data.few-labels",
    "keep_labels": "--data.keep-labels",
    "model_devices": "--model-devices",
    "output_activation": "--model.output-activation",
    "resume": "--resume RUN",
    "run_dir": "--run-dir",
    "seed": "--seed",
    "standardize": "--data.standardize",
}


def as_flags(message: str) -> str:
    """Return a message of the library with command-line options in place of Python arguments."""

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        value = value.strip("\"'")
        return _FLAGS[name] + (f" {value}" if value and value != "True" else "")

    return re.sub(rf"(?<![\w.-])({'|'.join(_FLAGS)})=((?:[\w.\"'-]*\w[\"']?)?)", flag, message)


class FlagsFormatter(logging.Formatter):
    """Log messages of the library in the words of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return as_flags(super().format(record))
