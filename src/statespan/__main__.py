"""`python -m statespan` is the same program as `statespan`."""

from statespan.cli.app import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
