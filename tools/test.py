"""`mmmim test` as a script: python tools/test.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("test")
