"""The exception for all errors that a user can correct: one line with the file and the remedy."""

LONGEST_LINE = 2000  # characters; paths and lists of names fit, a damaged file's content does not
_END = 500  # of these from the end, which holds the remedy


class FcpError(Exception):
    """Bad input, with a message that names the file or argument, the fault and the remedy.

    The command line prints the message alone and exits with a status other than 0 (the traceback
    only with ``--debug``). Programming errors are never turned into an ``FcpError``. A very long
    line is cut in its middle.

    Examples:
        >>> from fcp import HeadConfig
        >>> try:
        ...     HeadConfig(tokens=0)
        ... except FcpError as error:
        ...     print(error)
        tokens: expected at least 1, got 0
    """

    def __init__(self, message: str = "") -> None:
        super().__init__("\n".join(map(_cut, message.split("\n"))))


def _cut(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[: LONGEST_LINE - _END]} … {line[-_END:]}"
