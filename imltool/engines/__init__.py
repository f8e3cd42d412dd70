"""Engines that run a network: torch, or ONNX Runtime or OpenVINO for its exported graph, behind one interface."""
