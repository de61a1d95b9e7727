"""Projects of other makers, from their source archives: run by detection alone, and by their own instructions."""
