"""Students and teachers as graphs that run without PyTorch."""
