"""`mmmim plan` as a script: python tools/plan.py --help."""

from mmmim.cli import main

if __name__ == "__main__":
    main("plan")
