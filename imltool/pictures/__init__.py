"""Pictures: reading and writing files, pixel operations, drawing."""
