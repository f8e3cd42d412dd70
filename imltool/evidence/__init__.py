"""Evidence in a picture file besides its pixels: metadata, JPEG coding, Content Credentials, and remarks on them."""
