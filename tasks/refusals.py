"""What ends a job without being a fault of the program."""


class Refused(Exception):
    """The job was refused. The message says, in plain words, what is wrong and what to do about it.

    Tasks that raise it name it in ``throws=(Refused,)``, so that the worker logs one line and no traceback,
    and set ``show_error=True``, so that whoever watches reads the message.
    """


class Superseded(Exception):
    """Another execution has taken over this job, or what it works on was deleted. Stop; nothing more is kept."""
