"""The program, as `diffsci`, `python -m diffsci` and `torchrun -m diffsci` start it."""

from diffsci.running import parent, stopping


def main() -> None:
    """Run the command line; signals are heard before it is imported, which may take a second."""
    stopping.at_start()
    parent.end_with_it()
    from diffsci.cli import main as command

    command(prog_name="diffsci")


if __name__ == "__main__":
    main()
