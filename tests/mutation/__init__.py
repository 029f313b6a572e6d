"""Would the tests notice a mistake in the code? One small change of `language/` or `lowering/` at a time, and the tests run."""
