"""The program, as `diffsci`, `python -m diffsci` and `torchrun -m diffsci` start it."""

from diffsci import stopping


def main() -> None:
    """Run the command line; signals are heard before it is imported, which may take a second."""
    stopping.at_start()
    from diffsci.cli import main as command

    command(prog_name="diffsci")


if __name__ == "__main__":
    main()
