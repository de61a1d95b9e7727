"""What the settings are made of: how one is declared, and those of the installation, retention and the like."""
