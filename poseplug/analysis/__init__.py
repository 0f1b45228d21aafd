"""Experiments on a config: variants, seeds and equal steps; tables, figures and verdicts."""
