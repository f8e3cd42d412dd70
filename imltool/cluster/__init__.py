"""Work spread over processes and machines. Order, journal and output stay with the command itself."""
