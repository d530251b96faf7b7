"""Experiments of several training runs: `mmmim demo` and `mmmim compare`."""
