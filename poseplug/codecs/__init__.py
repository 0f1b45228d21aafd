"""Codecs: what the numbers of a network mean, from keypoints to fields and back."""
