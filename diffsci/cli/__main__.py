"""`python -m diffsci.cli`, the same as `python -m diffsci`."""

from diffsci.cli import main

main(prog_name="diffsci")
