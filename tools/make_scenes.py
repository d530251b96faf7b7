"""`mmmim make-scenes` as a script: python tools/make_scenes.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("make-scenes")
