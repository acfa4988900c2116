"""Bounds over whole regions of parameters, with a proof."""
