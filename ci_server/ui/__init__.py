"""The page for browsers, under `/ui/`: its files are built from `ci_ui` and are part of the installed package."""
