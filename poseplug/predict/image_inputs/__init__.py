"""The forms in which images are given to a predictor, one class for each."""
