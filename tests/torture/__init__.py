"""Runs that are killed, cut off from their disk and deceived: with small tiles, so that small tensors take all ways there are."""

from tensormap.runtime import buffers

buffers.TILE = 256
