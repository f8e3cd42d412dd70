"""The student: TinyViT backbone with the Memory-Guided Gated Fusion Module."""
