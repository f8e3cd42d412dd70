"""Drawing boxes in a browser, with the teacher's mask beside them: a server for one person's own machine."""
