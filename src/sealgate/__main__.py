"""``python -m sealgate``."""

from sealgate.cli import main

main()
