"""`python -m streams`: the command line without the console script."""

from streams.cli.main import main

main()
