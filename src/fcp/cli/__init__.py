"""The command ``fcp``: parse, call, print. Nothing here is imported by the library."""
