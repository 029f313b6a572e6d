"""Fuzzing with coverage: what is fuzzed, how, and the inputs that were found worth keeping."""
