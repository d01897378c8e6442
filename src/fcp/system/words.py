"""Words of messages."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number and what is counted: "1 photo", "1,200 photos".

    Args:
        count: Number, at least 0.
        noun: Singular of what is counted.
        plural: Its plural; None for the singular with an s.
    """
    named = noun if count == 1 else plural or f"{noun}s"
    return f"{count:,} {named}"
