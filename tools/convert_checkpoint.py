"""`mmmim convert` as a script: python tools/convert_checkpoint.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("convert")
