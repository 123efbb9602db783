"""What a job raises when it cannot use what it was given: an answer to the user, no fault of the program."""


class Refused(Exception):
    """The job was refused. The message says, in plain words, what is wrong and what to do about it.

    Tasks that raise it name it in ``throws=(Refused,)``, so that the worker logs one line and no traceback,
    and set ``show_error=True``, so that whoever watches reads the message.
    """
