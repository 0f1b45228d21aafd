"""Models outside of training: export to ONNX, runtimes for exported models, and a web page to try a model."""
