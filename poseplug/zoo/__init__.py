"""Weights of other projects for the models of poseplug."""
