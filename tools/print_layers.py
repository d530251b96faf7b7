"""`mmmim print-param-groups` as a script: python tools/print_layers.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("print-param-groups")
