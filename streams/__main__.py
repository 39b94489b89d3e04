"""`python -m streams`: the command line without the console script."""

from streams.cli import main

main()
