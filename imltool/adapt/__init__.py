"""Adapting a student to a new kind of forgery with a few boxes."""
