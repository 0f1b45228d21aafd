"""Formats of labeling tools: each reads its files into one form, COCO's, and some write it."""
