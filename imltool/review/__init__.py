"""`imltool review`: a local page to examine a scan's pictures, decide on them and record the decisions."""
