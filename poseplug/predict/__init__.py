"""Prediction with a trained model: images, videos, detectors, tracking and result files."""
