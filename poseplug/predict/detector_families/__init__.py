"""The families of detectors whose ONNX files can be run: how each is fed, recognized and read."""
