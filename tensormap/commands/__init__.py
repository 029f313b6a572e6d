"""The commands, by what they are about. Like `cli`, which they are part of, they print and exit."""
