"""What runs a network: torch, or its exported graph by ONNX Runtime or OpenVINO. One interface for all."""
