"""`python -m expedite_local` is the `expedite` command."""

from expedite_local.cli import main

if __name__ == "__main__":
    main()
