"""`python -m ci_cli`: the command `ci`."""

from ci_cli.main import main

if __name__ == "__main__":
    main()
