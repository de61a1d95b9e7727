"""The results of tests as they are kept: rows of columns, what is chosen among them, and what is compared with them."""
