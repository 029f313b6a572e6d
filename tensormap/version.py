"""The version, in one place for the package, the outputs' metadata and the command line."""

VERSION = "0.1.0"
