"""`python -m diffsci`: the command line, as `torchrun -m diffsci` starts it."""

from diffsci.cli import main

main(prog_name="diffsci")
