"""The one exception for everything a user can put right: one line with the file and the remedy."""


class FcpError(Exception):
    """Bad input, with a message that says which file or argument, what is wrong and what to do.

    The command line prints the message alone and exits with a status other than 0 (the traceback
    only with ``--debug``). Programming errors are never turned into an ``FcpError``.
    """
