"""`mmmim visualize` as a script: python tools/visualize.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("visualize")
