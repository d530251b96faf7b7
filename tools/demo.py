"""`mmmim demo` as a script: python tools/demo.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("demo")
