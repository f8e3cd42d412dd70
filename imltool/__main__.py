"""`python -m imltool` runs the command line."""

from imltool.cli.app import main

if __name__ == "__main__":
    main()
