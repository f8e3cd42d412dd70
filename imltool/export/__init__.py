"""Export of students and teachers as graphs that run without PyTorch."""
