"""`mmmim compare` as a script: python tools/compare.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("compare")
