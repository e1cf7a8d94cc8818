"""`python -m bias_audit`, where the command `bias-audit` is not on the path."""

from bias_audit.cli import main

if __name__ == "__main__":
    main()
