"""Work spread over processes and machines. The command that was given keeps the order, the journal and the output."""
