"""`python -m slasearch` is the same as `slasearch`."""

from slasearch.cli.main import main

if __name__ == "__main__":
    main()
