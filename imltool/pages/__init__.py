"""Local pages: the server, its guard and the scripts that `imltool annotate` and `imltool review` share."""
