"""Draw boxes in a browser, with the teacher's masks: a server for one person's own machine."""
