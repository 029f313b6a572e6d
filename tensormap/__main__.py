"""`python -m tensormap` is `tensormap`."""

from tensormap.cli import main

if __name__ == "__main__":
    main()
