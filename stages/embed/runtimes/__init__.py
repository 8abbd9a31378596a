"""What runs a gait network: torch, ONNX Runtime, TensorRT."""
