"""Prediction of many images by several processes, each input once however often they are ended."""
