"""`mmmim train` as a script: python tools/train.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("train")
