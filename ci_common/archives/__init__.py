"""Archives of unknown senders: which names and links they may have, and how they are unpacked."""
