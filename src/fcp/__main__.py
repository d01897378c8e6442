"""``python -m fcp`` is the command ``fcp``."""

from fcp.cli.main import main

main()
