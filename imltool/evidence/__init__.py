"""What a picture file says of itself: metadata, JPEG structure, Content Credentials, and remarks on them."""
