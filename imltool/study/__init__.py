"""Studies: many training runs that differ in one thing each, measured alike and compared picture by picture."""
