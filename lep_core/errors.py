"""Errors that people can mend: each says what happened and what to do.

    LepError
    ├── ConfigError        a setting has a value that cannot work; names the field
    ├── InputError         something the user gave cannot be used
    │   ├── CorpusError        a text file, archive or data set
    │   ├── TokenizerError     a tokenizer folder or file
    │   └── ModelError         a model folder or hub id
    │       └── SiblingError       base and instruct do not belong together
    ├── OutputError        the result cannot be written where it should go
    ├── ResourceError      memory, disk or device is not enough
    ├── TrainingError      training cannot go on
    │   └── DivergedError      the loss or its gradient is NaN or infinite
    └── JobError           a run cannot be started, stopped or resumed

Anything that is not a `LepError` is a bug and keeps its traceback. The command line prints a `LepError` as one line
`error: WHAT. HINT` and exits with 2; the user interface shows `message` and `hint` apart, beside the field for `ConfigError`.
"""

from __future__ import annotations

LONGEST = 600


class LepError(Exception):
    """What happened (`message`) and what to do about it (`hint`), each one plain sentence without a final full stop."""

    def __init__(self, message: str, hint: str) -> None:
        self.message = _one_line(message)
        self.hint = _one_line(hint)
        super().__init__(f"{self.message}. {self.hint}")


class ConfigError(LepError):
    """A setting has a value that cannot work; `field` is the name of the config field."""

    def __init__(self, field: str, message: str, hint: str) -> None:
        self.field = field
        super().__init__(message, hint)


class InputError(LepError):
    """Something that the user gave cannot be used."""


class CorpusError(InputError):
    """A text file, an archive or a data set cannot be read, or holds too little."""


class TokenizerError(InputError):
    """A tokenizer folder is missing, damaged or of a kind that cannot be adapted."""


class ModelError(InputError):
    """A model folder or hub id is missing, damaged or of a kind that cannot be adapted."""


class SiblingError(ModelError):
    """Base and instruct model do not share architecture, hidden size or token ids."""


class OutputError(LepError):
    """The result cannot be written where it should go."""


class ResourceError(LepError):
    """Memory, disk space or a device is not enough."""


class TrainingError(LepError):
    """Training cannot go on."""


class DivergedError(TrainingError):
    """The loss or its gradient is NaN or infinite; the last update is kept, this one was not made."""


class JobError(LepError):
    """A run cannot be started, stopped or resumed."""


def _one_line(text: str) -> str:
    """One line that people can read: of what is longer, such as a tensor with a name of a million letters, beginning and end."""
    line = " ".join(str(text).split()).rstrip(".")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - LONGEST // 3]} ... {line[-LONGEST // 3 :]}"
