"""`python -m ci_client`: the command `ci`."""

from ci_client.main import main

if __name__ == "__main__":
    main()
