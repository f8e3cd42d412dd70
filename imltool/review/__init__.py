"""`imltool review`: a local page to examine a scan's pictures, decide about them and record the decisions."""
