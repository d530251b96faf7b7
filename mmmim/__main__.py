"""`python -m mmmim COMMAND`."""

from mmmim.cli import main

main()
