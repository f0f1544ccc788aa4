"""`python -m igrt`."""

from igrt.cli.main import main

main()
