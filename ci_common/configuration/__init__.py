"""What the settings are made of: how one is declared, and those that describe the installation and retention."""
