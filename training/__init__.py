"""Train small recurrent forecasters and classifiers and export them as self-describing ONNX files."""
