"""What several test modules share: pictures, sets, servers, and readers of what commands write."""
