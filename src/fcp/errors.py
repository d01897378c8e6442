"""The one exception for everything a user can put right: one line with the file and the remedy."""

LONGEST_LINE = 2000  # characters; paths and lists of names fit, a damaged file's content does not
_END = 500  # of these from the end, where the remedy stands


class FcpError(Exception):
    """Bad input, with a message that says which file or argument, what is wrong and what to do.

    The command line prints the message alone and exits with a status other than 0 (the traceback
    only with ``--debug``). Programming errors are never turned into an ``FcpError``. A line that
    quotes more than anybody reads is cut in its middle.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__("\n".join(map(_cut, message.split("\n"))))


def _cut(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[: LONGEST_LINE - _END]} … {line[-_END:]}"
