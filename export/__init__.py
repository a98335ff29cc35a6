"""From a PyTorch module to ONNX and TFLite files, with proof."""
